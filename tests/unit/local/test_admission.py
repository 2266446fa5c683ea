"""A wrong Workspace is refused when it is applied, in words, and never reaches the operator."""

from __future__ import annotations

import itertools

import pytest

from kaito.api.core import CONFIG_MAP
from kaito.api.meta import Json
from kaito.api.workspace import WORKSPACE
from kaito.kube.errors import Invalid
from kaito.local.client import LocalClient, open_core
from kaito.local.persist import State
from tests.builders import config_map, moment, workspace

REF = WORKSPACE.ref("default", "phi")


def served() -> LocalClient:
    ids = itertools.count()
    return open_core(State(), lambda _: None, now=moment, new_uid=lambda: f"u{next(ids)}")


def asked(**more: object) -> Json:
    body = workspace(finalizer=False, **more)  # type: ignore[arg-type]
    return body | {"metadata": {"name": body["metadata"]["name"], "namespace": "default"}}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"preset": "phi-3.5-mini-instrukt"},
            "inference.preset.name: 'phi-3.5-mini-instrukt': is not in the catalogue",
        ),
        ({"instance_type": ""}, "name an instance type"),
        ({"preset": None}, "give it one of the two"),
        ({"name": "3phi"}, "beginning with a letter"),
    ],
)
async def test_a_wrong_workspace_is_refused_with_field_value_and_remedy(more: dict[str, object], words: str) -> None:
    with pytest.raises(Invalid, match="denied the request") as refusal:
        await served().create(WORKSPACE, "default", asked(**more))
    assert words in str(refusal.value)


async def test_a_right_one_passes_and_keeps_its_model() -> None:
    client = served()
    config = config_map("mine", inference_config__yaml="vllm: {}")
    await client.create(CONFIG_MAP, "default", config | {"metadata": {"name": "mine", "namespace": "default"}})
    await client.create(WORKSPACE, "default", asked(config="mine"))
    with pytest.raises(Invalid, match=r"inference\.preset: .*cannot change"):
        await client.merge_patch(WORKSPACE, REF, {"inference": {"preset": {"name": "phi-4"}}})
    await client.merge_patch(WORKSPACE, REF, {"metadata": {"finalizers": ["x.example/y"], "labels": {"a": "b"}}})


async def test_what_is_only_doubtful_passes_with_a_warning_that_names_the_remedy() -> None:
    client = served()
    await client.create(WORKSPACE, "default", asked(instance_type="Standard_NC24ads_A100_v5", config="mine"))
    told = " ".join(client.server.warnings)
    assert "did you mean Standard_NC24ads_A100_v4" in told and "there is no such ConfigMap" in told
