"""One line a rule: the wish, the rule that refuses it, the field that it names. And the laws of the form itself."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.meta import Json
from kaito.plan.validate import violations
from kaito.settings import PlanSettings
from tests.builders import SKU, World, config_map, ragengine, tuning_workspace, workspace

SETTINGS = PlanSettings()
BYO = PlanSettings(node_provisioner="byo")
VOLUME = {"hostPath": {"path": "/a"}}
ADAPTER = {"source": {"name": "a", "volumeSource": VOLUME}}
SKU_FILE = config_map(SETTINGS.sku_config_map, SETTINGS.release_namespace)


def ws(**more: Any) -> Json:
    return workspace(**more)


def annotated(key: str, value: str) -> Json:
    return ws(annotations={key: value})


def configured(text: str) -> tuple[Json, World]:
    return ws(config="mine"), World(config_map("mine", inference_config__yaml=text))


def told(body: Json, old: Json | None = None, *, world: World | None = None, settings: PlanSettings = SETTINGS) -> Any:
    return violations(body, old, facts=world or World(), settings=settings)


CREATE: list[tuple[str, str, Json, PlanSettings]] = [
    ("name", "metadata.name", ws(name="x" * 53), SETTINGS),
    ("name", "metadata.name", ws(name="3phi"), SETTINGS),
    ("name", "metadata.name", ws(name="a.b"), SETTINGS),
    ("1", "inference, tuning", ws() | {"inference": None}, SETTINGS),
    ("1", "inference, tuning", ws() | {"tuning": tuning_workspace()["tuning"]}, SETTINGS),
    ("2", "resource.instanceType", ws(instance_type=None), SETTINGS),
    ("2", "resource.instanceType", ws(), BYO),
    ("3-4", "metadata.annotations[kaito.sh/node-image-family]", annotated("kaito.sh/node-image-family", "x"), SETTINGS),
    ("3-4", "metadata.annotations[kaito.sh/performance-mode]", annotated("kaito.sh/performance-mode", "x"), SETTINGS),
    ("3-4", "metadata.annotations[kaito.sh/use-local-weights]", annotated("kaito.sh/use-local-weights", "T"), SETTINGS),
    ("3-4", "metadata.annotations[kaito.sh/runtime]", annotated("kaito.sh/runtime", "tgi"), SETTINGS),
    ("6-17", "inference.preset.name", ws(preset="no-such-model"), SETTINGS),
    ("6-17", "inference.preset.name", ws(preset="phi-2"), SETTINGS),
    (
        "7",
        "resource.labelSelector.matchExpressions[0]",
        ws(resource={"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}),
        SETTINGS,
    ),
    ("8", "resource.labelSelector.matchLabels", ws(match_labels={"kaito.sh/workspace": "x"}), SETTINGS),
    ("9-13", "resource.partition", ws(resource={"partition": {"mode": "mig", "profile": "1g.10gb"}}), SETTINGS),
    (
        "9-13",
        "resource.partition.profile",
        ws(instance_type=None, resource={"partition": {"mode": "mig", "profile": "9g.9gb"}}),
        BYO,
    ),
    ("9-13", "resource.partition.count", ws(instance_type=None, resource={"partition": {"mode": "accelerator"}}), BYO),
    ("14", "resource.instanceType", ws(instance_type="Standard_NC24ads_A100_v5"), SETTINGS),
    ("14", "resource.instanceType", ws(instance_type="p99.huge", preset=None, template={"spec": {}}), SETTINGS),
    (
        "15-16",
        "metadata.annotations[kaito.sh/runtime]",
        ws(preset="llama-3.3-70b-instruct", annotations={"kaito.sh/runtime": "transformers"}),
        SETTINGS,
    ),
    ("17", "inference.preset, inference.template", ws(preset=None), SETTINGS),
    ("17", "inference.preset, inference.template", ws(template={"spec": {}}), SETTINGS),
    ("19-21", "inference.adapters", ws(inference={"adapters": [ADAPTER, ADAPTER]}), SETTINGS),
    (
        "19-21",
        "inference.adapters",
        ws(inference={"adapters": [{"source": {"name": f"a{i}", "volumeSource": VOLUME}} for i in range(11)]}),
        SETTINGS,
    ),
    ("19-21", "inference.adapters[0].source", ws(inference={"adapters": [{"source": {"name": "a"}}]}), SETTINGS),
    ("19-21", "inference.adapters[0].strength", ws(inference={"adapters": [ADAPTER | {"strength": "2"}]}), SETTINGS),
    ("19-21", "inference.adapters[0].strength", ws(inference={"adapters": [ADAPTER | {"strength": "0.5"}]}), SETTINGS),
    ("22", "inference.config", ws(config="missing"), SETTINGS),
    ("schema", "resource.count", ws(resource={"count": "two"}), SETTINGS),
    ("embedding", "spec.embedding", ragengine(spec={"embedding": {}}), SETTINGS),
    ("embedding", "spec.embedding.remote.url", ragengine(spec={"embedding": {"remote": {"url": "x"}}}), SETTINGS),
    (
        "embedding",
        "spec.embedding.local.image",
        ragengine(spec={"embedding": {"local": {"image": "UPPER/Case"}}}),
        SETTINGS,
    ),
    (
        "inferenceService",
        "spec.inferenceService.contextWindowSize",
        ragengine(spec={"inferenceService": {"contextWindowSize": 0}}),
        SETTINGS,
    ),
    (
        "storage",
        "spec.storage.vectorDB.engine",
        ragengine(spec={"storage": {"vectorDB": {"engine": "pinecone", "url": "http://x"}}}),
        SETTINGS,
    ),
    ("compute", "spec.compute.instanceType", ragengine(spec={"compute": {"labelSelector": {}}}), SETTINGS),
    ("guardrails", "spec.guardrails.configMapRef", ragengine(spec={"guardrails": {"enabled": True}}), SETTINGS),
]


@pytest.mark.parametrize(
    ("rule", "field", "body", "settings"), CREATE, ids=[f"{rule}:{field}" for rule, field, _, _ in CREATE]
)
def test_a_new_object_that_breaks_the_rule_is_refused_with_the_field_named(
    rule: str, field: str, body: Json, settings: PlanSettings
) -> None:
    found = [each for each in told(body, settings=settings) if (each.rule, each.field) == (rule, field)]
    assert found and all(each.message and each.remedy and each.severity == "error" for each in found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vllm: [", "is not YAML"),
        ("vllm: 3", "has no mapping `vllm`"),
        ("vllm:\n  max-model-len: many\n", "'many'"),
        ("vllm:\n  max-model-len: 99999999\n", "has at most"),
    ],
)
def test_rule_22_names_what_is_wrong_with_the_config_map(text: str, words: str) -> None:
    body, world = configured(text)
    (found,) = told(body, world=world)
    assert (found.rule, found.field) == ("22", "inference.config") and words in found.message


def test_a_config_map_that_is_not_known_yet_refuses_nothing() -> None:
    assert violations(ws(config="mine"), settings=SETTINGS) == ()


def test_an_instance_type_of_the_users_own_file_is_known() -> None:
    body = ws(instance_type="Mine_8x")
    (found,) = told(body)
    assert found.rule == "14" and SETTINGS.sku_config_map in found.remedy


@pytest.mark.parametrize(
    "body",
    [ws(), ws(preset="org/some-model"), tuning_workspace(), ragengine(), ws(preset=None, template={"spec": {}})],
    ids=["preset", "hub", "tuning", "ragengine", "template"],
)
def test_what_users_write_passes(body: Json) -> None:
    assert told(body) == ()


UPDATE: list[tuple[str, str, Json, Json, PlanSettings]] = [
    ("u1", "inference", ws(), tuning_workspace(name="phi"), SETTINGS),
    ("u2", "resource.count", ws(), ws(count=3), SETTINGS),
    ("u2", "resource.labelSelector", ws(), ws(match_labels={"other": "x"}), SETTINGS),
    (
        "u2",
        "resource.partition",
        ws(instance_type=None),
        ws(instance_type=None, resource={"partition": {"mode": "accelerator", "count": 1}}),
        BYO,
    ),
    ("u3", "resource.instanceType", ws(), ws(instance_type="Standard_NC48ads_A100_v4"), SETTINGS),
    ("u3", "resource.instanceType", ws(instance_type=None), ws(), BYO),
    ("u4", "inference.preset", ws(), ws(preset="phi-4"), SETTINGS),
    ("u4", "inference.template", ws(preset=None, template={"spec": {}}), ws(), SETTINGS),
    ("u1", "spec.compute", ragengine(), ragengine(spec={"compute": ws()["resource"]}), SETTINGS),
]


@pytest.mark.parametrize(
    ("rule", "field", "old", "new", "settings"), UPDATE, ids=[f"{rule}:{field}" for rule, field, *_ in UPDATE]
)
def test_a_change_that_is_not_allowed_is_refused(
    rule: str, field: str, old: Json, new: Json, settings: PlanSettings
) -> None:
    found = told(new, old, settings=settings)
    assert (rule, field) in {(each.rule, each.field) for each in found}


def test_the_instance_type_may_be_given_once() -> None:
    assert told(ws(instance_type=SKU), ws(instance_type=None)) == ()


@given(st.sampled_from([(body, settings) for _, _, body, settings in CREATE]))
def test_what_was_wrong_before_may_stay_and_what_is_deleted_always_passes(case: tuple[Json, PlanSettings]) -> None:
    """Ratcheting: finalizers and labels of an object that breaks today's rules can still be changed."""
    body, settings = case
    changed = deepcopy(body)
    changed["metadata"]["labels"] = {"touched": "yes"}
    changed["metadata"]["finalizers"] = []
    assert told(changed, body, settings=settings) == ()
    changed["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    assert told(changed, settings=settings) == ()
