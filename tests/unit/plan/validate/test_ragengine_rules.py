"""One row per way to break each rule of RAGEngine: the id of the rule is in the name of the test."""

from __future__ import annotations

from copy import deepcopy

import pytest

from kaito.api.meta import Json
from kaito.plan.validate import errors_of, validate
from kaito.settings import PlanSettings
from tests.builders import World, ragengine, workspace

SETTINGS = PlanSettings()
CREATE: list[tuple[str, str, Json, PlanSettings]] = [
    ("embedding", "spec.embedding", ragengine(spec={"embedding": {}}), SETTINGS),
    ("embedding", "spec.embedding.remote.url", ragengine(spec={"embedding": {"remote": {"url": "x"}}}), SETTINGS),
    (
        "embedding",
        "spec.embedding.local.image",
        ragengine(spec={"embedding": {"local": {"image": "UPPER/Case"}}}),
        SETTINGS,
    ),
    (
        "inference-service",
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
    ("name", "metadata.name", ragengine(name="9lives"), SETTINGS),
]


@pytest.mark.parametrize(
    ("rule", "field", "body", "settings"), CREATE, ids=[f"{rule}:{field}" for rule, field, _, _ in CREATE]
)
def test_rule(rule: str, field: str, body: Json, settings: PlanSettings) -> None:
    found = [each for each in validate(body, None, World(), settings) if (each.rule, each.field) == (rule, field)]
    assert found and all(each.message and each.remedy and each.is_error for each in found)
    changed = deepcopy(body)
    changed["metadata"] |= {"labels": {"touched": "yes"}, "finalizers": []}
    assert errors_of(validate(changed, body, World(), settings)) == ()


def test_compute_is_immutable() -> None:
    changed = ragengine(spec={"compute": workspace()["resource"]})
    assert "compute-immutable" in {each.rule for each in validate(changed, ragengine(), World(), SETTINGS)}


def test_what_is_right_breaks_no_rule() -> None:
    assert validate(ragengine(), None, World(), SETTINGS) == ()
