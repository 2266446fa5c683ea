"""One row per way to break each rule of RAGEngine: the id of the rule is in the name of the test."""

from __future__ import annotations

from copy import deepcopy

import pytest

from kaito.api.meta import Json
from kaito.plan.validate import errors_of, validate
from kaito.plan.validate.ragengine import RAGENGINE_RULES
from kaito.settings import PlanSettings
from tests.builders import World, ragengine

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
    ("embedding", "spec.embedding.local", ragengine(spec={"embedding": {"local": {}}}), SETTINGS),
    (
        "inference-service",
        "spec.inferenceService.url",
        ragengine(spec={"inferenceService": {"url": "x", "contextWindowSize": 1}}),
        SETTINGS,
    ),
    (
        "label-selector",
        "spec.compute.labelSelector.matchExpressions[0]",
        ragengine(
            spec={
                "compute": {
                    "instanceType": "Standard_NC24ads_A100_v4",
                    "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]},
                }
            }
        ),
        SETTINGS,
    ),
    (
        "label-selector-reserved",
        "spec.compute.labelSelector.matchLabels",
        ragengine(
            spec={
                "compute": {
                    "instanceType": "Standard_NC24ads_A100_v4",
                    "labelSelector": {"matchLabels": {"kaito.sh/ragengine": "x"}},
                }
            }
        ),
        SETTINGS,
    ),
]


@pytest.mark.parametrize(
    ("rule", "field", "body", "settings"), CREATE, ids=[f"2.4-{rule}:{field}" for rule, field, _, _ in CREATE]
)
def test_rule(rule: str, field: str, body: Json, settings: PlanSettings) -> None:
    found = [each for each in validate(body, None, World(), settings) if (each.rule, each.field) == (rule, field)]
    assert found and all(each.message and each.remedy and each.is_error for each in found)
    changed = deepcopy(body)
    changed["metadata"] |= {"labels": {"touched": "yes"}, "finalizers": []}
    assert errors_of(validate(changed, body, World(), settings)) == ()


COMPUTE = {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": "rag"}}}
UPDATE: list[tuple[str, Json | None, Json | None]] = [
    ("compute-immutable", None, COMPUTE),
    ("compute-immutable", COMPUTE, None),
    ("instance-type-immutable", COMPUTE, COMPUTE | {"instanceType": "Standard_NC48ads_A100_v4"}),
    ("label-selector-immutable", COMPUTE, COMPUTE | {"labelSelector": {"matchLabels": {"apps": "other"}}}),
    ("count-immutable", COMPUTE, COMPUTE | {"count": 2}),
    ("partition-immutable", COMPUTE, COMPUTE | {"partition": {"mode": "accelerator", "count": 1}}),
]


@pytest.mark.parametrize(("rule", "before", "after"), UPDATE, ids=[f"2.4-update-{row[0]}" for row in UPDATE])
def test_what_may_not_change(rule: str, before: Json | None, after: Json | None) -> None:
    old, new = (ragengine(spec={"compute": each} if each else {}) for each in (before, after))
    assert rule in {each.rule for each in errors_of(validate(new, old, World(), SETTINGS))}
    assert errors_of(validate(old, old, World(), SETTINGS)) == ()


def test_an_instance_type_that_no_table_has_is_a_warning() -> None:
    made = ragengine(spec={"compute": COMPUTE | {"instanceType": "Standard_NC24ads_A100_v5"}})
    (found,) = validate(made, None, World(), SETTINGS)
    assert (found.rule, found.severity) == ("instance-type-known", "warning") and "did you mean" in found.remedy
    assert validate(made, None, World(), PlanSettings(node_provisioner="byo")) == ()


def test_every_rule_of_the_table_has_a_row() -> None:
    named = {row[0] for row in CREATE} | {row[0] for row in UPDATE} | {"instance-type-known"}
    assert named == {rule.id for rule in RAGENGINE_RULES}


def test_what_is_right_breaks_no_rule() -> None:
    assert validate(ragengine(), None, World(), SETTINGS) == ()
