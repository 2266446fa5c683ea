"""One row per way to break each rule of InferenceSet (2.3): its own, and those of the Workspaces that it makes."""
# ruff: noqa: E501 (the table: one row a line)

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json
from kaito.plan.catalog import Lookup, lookup_text, presets
from kaito.plan.model import answer_key
from kaito.plan.validate import NothingKnown, errors_of, validate, warnings_of
from kaito.plan.validate.inferenceset import INFERENCE_SET_RULES, TEMPLATE_RULES
from kaito.plan.validate.schedule import duration_s, schedule_error
from kaito.plan.validate.workspace import WORKSPACE_RULES
from kaito.settings import PlanSettings
from kaito.state.view import Answer
from tests.builders import SKU, START, World, config_map, metadata

NAP, KARPENTER, BYO = PlanSettings(), PlanSettings(node_provisioner="karpenter"), PlanSettings(node_provisioner="byo")
WINDOW = {"schedule": "0 2 * * 6", "duration": "4h"}


def inference_set(name: str = "set", **spec: Any) -> Json:
    """`resource`, `inference`, `labels` and `annotations` are of the template."""
    template: Json = {
        "resource": spec.pop("resource", {"instanceType": SKU}),
        "inference": spec.pop("inference", {"preset": {"name": "phi-4"}}),
        "metadata": {key: spec.pop(key) for key in ("labels", "annotations") if key in spec},
    }
    body = {"template": template, "labelSelector": {"matchLabels": {"apps": "llm"}}}
    meta = metadata(name, "default", finalizers=["inferenceset.finalizer.kaito.sh"])
    return {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "metadata": meta, "spec": body | spec}


def upgraded(**window: str) -> Json:
    return inference_set(autoUpgrade={"enabled": True, "maintenanceWindow": WINDOW | window})


E, W = "error", "warning"
TABLE: list[tuple[str, str, Json, PlanSettings, str, str]] = [
    ("name", E, inference_set("a" * 64), NAP, "metadata.name", "63 at most"),
    ("name", E, inference_set("a.b"), NAP, "metadata.name", "create it under another name"),
    ("schema", E, inference_set(replicas=-1), NAP, "spec.replicas", "greater than or equal to 0"),
    ("node-count-limit", E, inference_set(nodeCountLimit=0), NAP, "spec.nodeCountLimit", "no node may be used"),
    ("maintenance-window", E, upgraded(schedule="0 2 * *"), NAP, "spec.autoUpgrade.maintenanceWindow.schedule", "found 4"),
    ("maintenance-window", E, upgraded(duration="0s"), NAP, "spec.autoUpgrade.maintenanceWindow.duration", "above 0"),
    ("maintenance-window", E, upgraded(duration="soon"), NAP, "spec.autoUpgrade.maintenanceWindow.duration", "1h30m"),
    ("template-metadata", E, inference_set(labels={"a": 1}), NAP, "spec.template.metadata.labels", "no map of texts"),
    ("template-metadata", E, inference_set(annotations=[]), NAP, "spec.template.metadata.annotations", "no map of texts"),
    ("instance-type-byo", E, inference_set(), BYO, "spec.template.resource.instanceType", "must be empty"),
    ("instance-type-required", E, inference_set(resource={}), KARPENTER, "spec.template.resource.instanceType", "required"),
    ("instance-type-required", E, inference_set(resource={}), NAP, "spec.template.resource.instanceType", "required"),
    ("instance-type-known", W, inference_set(resource={"instanceType": "x"}), NAP, "spec.template.resource.instanceType", "x"),
    ("partition-mig", E, inference_set(resource={"partition": {"mode": "mig"}}), BYO, "spec.template.resource.partition.profile", "no known MIG profile"),
    ("label-selector-reserved", E, inference_set(labelSelector={"matchLabels": {"kaito.sh/workspace": "x"}}), NAP, "spec.labelSelector.matchLabels", "add a label of your own"),
    ("preset-known", E, inference_set(inference={"preset": {"name": "phi-5"}}), NAP, "spec.template.inference.preset.name", "is not in the catalogue"),
    ("preset-xor-template", E, inference_set(inference={}), NAP, "spec.template.inference", "neither preset nor template"),
    ("adapter-source", E, inference_set(inference={"preset": {"name": "phi-4"}, "adapters": [{}]}), NAP, "spec.template.inference.adapters[0].source", "expected a name"),
    ("performance-mode", E, inference_set(annotations={"kaito.sh/performance-mode": "fast"}), NAP, "spec.template.metadata.annotations[kaito.sh/performance-mode]", "use one of"),
    ("inference-config", W, inference_set(inference={"preset": {"name": "phi-4"}, "config": "c"}), NAP, "spec.template.inference.config", "there is no such ConfigMap"),
]  # fmt: skip
IDS = [f"2.3-{row[0]}-{row[1]}-{number}" for number, row in enumerate(TABLE)]


@pytest.mark.parametrize(("rule", "severity", "made", "settings", "field", "words"), TABLE, ids=IDS)
def test_rule(rule: str, severity: str, made: Json, settings: PlanSettings, field: str, words: str) -> None:
    found = [each for each in validate(made, None, World(), settings) if (each.rule, each.field) == (rule, field)]
    assert [each.severity for each in found] == [severity] and words in str(found[0])
    assert found[0].remedy


@pytest.mark.parametrize("row", TABLE, ids=IDS)
def test_a_deletion_and_what_was_wrong_before_are_never_blocked(row: Any) -> None:
    made, settings = row[2], row[3]
    leaving = deepcopy(made)
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": []}
    assert validate(leaving, made, World(), settings) == ()
    touched = deepcopy(made)
    touched["metadata"] |= {"labels": {"team": "a"}, "finalizers": []}
    touched["spec"]["replicas"] = made["spec"].get("replicas", 5)
    assert errors_of(validate(touched, made, World(), settings)) == ()


def test_every_own_rule_is_broken_by_some_row_and_replicas_are_judged_by_all_of_a_new_workspaces() -> None:
    named = {row[0] for row in TABLE}
    assert {rule.id for rule in INFERENCE_SET_RULES} - {"partition-immutable"} <= named
    assert {rule.id for rule in WORKSPACE_RULES if not rule.compares} == {rule.id for rule in TEMPLATE_RULES} | {"name"}


def test_the_partition_may_not_change_and_the_model_may() -> None:
    part = {"partition": {"mode": "accelerator", "count": 1}}
    old, new = inference_set(resource=part), inference_set(resource={"partition": part["partition"] | {"count": 2}})
    (found,) = errors_of(validate(new, old, World(), BYO))
    assert (found.rule, found.field) == ("partition-immutable", "spec.template.resource.partition")
    other = inference_set(inference={"preset": {"name": "phi-4-mini-instruct"}})
    assert validate(other, inference_set(), World(), NAP) == ()


def test_what_is_right_breaks_no_rule() -> None:
    assert validate(inference_set(), None, World(), NAP) == ()
    assert validate(inference_set(replicas=0, nodeCountLimit=4), None, World(), NAP) == ()
    assert validate(upgraded(), None, NothingKnown(), NAP) == ()
    long = inference_set("a" * 63)
    assert validate(long, None, World(), NAP) == ()


def test_what_the_hub_says_of_the_templates_model_is_heard() -> None:
    made = inference_set(inference={"preset": {"name": "org/model"}})
    assert [each.rule for each in warnings_of(validate(made, None, World(), NAP))] == ["model-lookup"]
    world, key = World(), (INFERENCE_SET.ref("default", "set"), answer_key("org/model"))
    world.answers[key] = Answer(lookup_text(Lookup("missing", "it is not on the hub")), START)
    (found,) = errors_of(validate(made, None, world, NAP))
    assert (found.rule, found.field) == ("model-lookup", "spec.template.inference.preset.name")
    world.answers[key] = Answer(lookup_text(Lookup("found", model=next(iter(presets().values())))), START)
    assert validate(made, None, world, NAP) == ()


def test_a_config_map_that_makes_no_sense_is_told_of_the_template() -> None:
    made = inference_set(inference={"preset": {"name": "phi-4"}, "config": "c"})
    (found,) = errors_of(validate(made, None, World(config_map("c", inference_config__yaml="a: [")), NAP))
    assert found.field == "spec.template.inference.config" and "is not YAML" in found.message


@pytest.mark.parametrize(
    "text",
    ["* * * * *", "0 2 * * 6", "*/15 0-6 1,15 jan-mar mon-fri", "0 0 ? * SUN", "5/10 23 31 12 0", "0-30/5 1 1 1 6"],
)
def test_schedules_that_are(text: str) -> None:
    assert schedule_error(text) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "found 0"),
        ("@daily", "found 1"),
        ("0 2 * * 6 *", "found 6"),
        ("60 * * * *", "minute: '60': expected 0 to 59"),
        ("* 24 * * *", "hour: '24'"),
        ("* * 0 * *", "day of the month: '0': expected 1 to 31"),
        ("* * * foo *", "month: 'foo': expected 1 to 12 or jan to dec"),
        ("* * * * 7", "day of the week: '7'"),
        ("5-1 * * * *", "a range begins with the lower number"),
        ("*/0 * * * *", "a step is at least 1"),
        ("1,,2 * * * *", "minute: '': expected a number"),
        ("-1 * * * *", "minute: '-1': expected a number"),
    ],
)
def test_schedules_that_are_none_say_where(text: str, words: str) -> None:
    assert words in schedule_error(text)


@given(st.text(max_size=30))
def test_no_text_is_more_than_a_schedule_or_none(text: str) -> None:
    assert isinstance(schedule_error(text), str)
    seconds = duration_s(text)
    assert seconds is None or seconds >= 0


def test_durations() -> None:
    given = {"4h": 14_400.0, "1h30m": 5_400.0, "0s": 0.0, "1.5h": 5_400.0, "100ms": 0.1, "": None, "4": None, "h": None,
             "4 h": None, "-1h": None, "4d": None}  # fmt: skip
    assert {text: duration_s(text) for text in given} == given
