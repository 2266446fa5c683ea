"""Whatever JSON stands where users write without a schema: it is planned or told of, and never stops the planner."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito.actors.roster import judge_root, plan_root
from kaito.api.inferenceset import parse_inference_set
from kaito.api.meta import Json
from kaito.api.workspace import parse_workspace
from kaito.plan.validate import NothingKnown, errors_of, validate
from kaito.settings import PlanSettings
from tests.builders import (
    SKU,
    World,
    condition,
    metadata,
    moment,
    node,
    node_claim,
    ref_of,
    tuning_workspace,
    workspace,
)

CONTAINER: Json = {
    "name": "c",
    "image": "i",
    "command": ["serve"],
    "env": [{"name": "a", "value": "b"}, {"name": "s", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    "envFrom": [{"configMapRef": {"name": "m"}}],
    "ports": [{"containerPort": 80}],
    "resources": {"requests": {"nvidia.com/gpu": 1, "cpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    "readinessProbe": {"httpGet": {"port": 80}},
}
TEMPLATE: Json = {
    "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
    "spec": {
        "containers": [CONTAINER],
        "initContainers": [{"name": "i", "image": "j", "ports": [{"containerPort": 1}]}],
        "tolerations": [{"key": "a"}],
        "affinity": {"nodeAffinity": {}},
        "imagePullSecrets": [{"name": "s"}],
        "volumes": [
            {"name": "v", "secret": {"secretName": "s", "items": [{"key": "k"}]}},
            {"name": "p", "projected": {"sources": [{"configMap": {"name": "x"}}]}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "c"}},
        ],
    },
}
VOLUME: Json = {"persistentVolumeClaim": {"claimName": "x"}}
JUNK: list[Any] = [
    None, 0, -1, 1.5, 10**30, True, "", "x", "²", "9" * 5_000, "x" * 300, [], {}, [None], ["x"], [{}], {"a": None},
    {"name": 5}, [[]], {"": ""}, [{"name": 5, "image": []}],
]  # fmt: skip
SET: Json = {
    "apiVersion": "kaito.sh/v1beta1",
    "kind": "InferenceSet",
    "metadata": metadata("set", "default", finalizers=["inferenceset.finalizer.kaito.sh"]),
    "spec": {
        "replicas": 2,
        "labelSelector": {"matchLabels": {"a": "b"}},
        "updateStrategy": {"type": "x"},
        "template": {"metadata": {"labels": {"a": "b"}}, "resource": {"instanceType": SKU}, "inference": {}},
    },
}


def inference_set() -> Json:
    body = deepcopy(SET)
    body["spec"]["template"]["inference"] = {"template": deepcopy(TEMPLATE)}
    return body


# A root, and where in it anything may stand.
ROOTS: list[tuple[Json, tuple[str | int, ...]]] = [
    (workspace(preset=None, template=TEMPLATE), ("inference", "template")),
    (tuning_workspace(tuning={"input": {"volumeSource": VOLUME}}), ("tuning", "input", "volumeSource")),
    (tuning_workspace(), ("tuning", "output", "volumeSource")),
    (
        workspace(inference={"adapters": [{"source": {"name": "a", "volumeSource": VOLUME}}]}),
        ("inference", "adapters", 0, "source", "volumeSource"),
    ),
    (inference_set(), ("spec", "template", "inference", "template")),
    (inference_set(), ("spec", "template", "metadata")),
    (inference_set(), ("spec", "updateStrategy")),
]


def places(found: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    entries = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def at(found: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        found = found[key]
    return found


@st.composite
def hostile(draw: st.DrawFn) -> Json:
    body, top = draw(st.sampled_from(ROOTS))
    body = deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        inner = [path for path in places(at(body, top)) if path]
        if inner:
            *parents, last = draw(st.sampled_from(inner))
            at(body, (*top, *parents))[last] = deepcopy(draw(st.sampled_from(JUNK)))
    return body


def ready_world(root: Json) -> World:
    """Its machine is there, so that the workload is what comes next."""
    name = root["metadata"]["name"]
    ready = [condition(type_) for type_ in ("Launched", "Registered", "Initialized", "Ready")]
    claim = node_claim("ws0000000001", owner=name, owner_uid=f"uid-default-{name}", node="n1", conditions=ready)
    labels = {"kaito.sh/workspace": name, "kaito.sh/workspacenamespace": "default", "apps": "phi"}
    return World(root, claim, node("n1", labels=labels))


@settings(max_examples=300)
@given(hostile())
def test_any_json_in_a_field_without_a_schema_is_planned_or_told_of(root: Json) -> None:
    validate(deepcopy(root), None, NothingKnown(), PlanSettings())
    world, ref = ready_world(root), ref_of(root)
    plan_root(world, ref, moment(100), PlanSettings())
    judge_root(world, ref, moment(100), PlanSettings())


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ({}, "spec.containers: missing: a pod has at least one container, with a name and an image"),
        ({"spec": {"containers": "x"}}, "spec.containers: expected a list, found 'x'"),
        ({"spec": {"containers": ["x"]}}, "spec.containers[0]: expected an object, found 'x'"),
        ({"spec": {"containers": [None]}}, "spec.containers[0]: expected an entry, found null"),
        ({"spec": {"containers": [{"name": "c"}]}}, "spec.containers[0].image: missing"),
        (
            {"spec": {"containers": [CONTAINER | {"resources": {"limits": {"nvidia.com/gpu": "two"}}}]}},
            "spec.containers[0].resources.limits[nvidia.com/gpu]: "
            "expected a quantity such as 500m or 16Gi, found 'two'",
        ),
        ({"metadata": {"labels": {"a": 1}}, "spec": TEMPLATE["spec"]}, "metadata.labels[a]: expected a text, found 1"),
    ],
)
def test_what_is_no_pod_template_is_refused_by_field_and_value(template: Json, told: str) -> None:
    assert parse_workspace(workspace(preset=None, template=template)) == (f"inference.template: {told}",)
    (found,) = errors_of(validate(workspace(preset=None, template=template), None, NothingKnown(), PlanSettings()))
    assert str(found) == (
        f"inference.template: {told}; correct it, as `kubectl explain statefulset.spec.template` describes it"
    )


def test_a_pod_template_that_is_one_is_kept_as_it_is() -> None:
    found = parse_workspace(workspace(preset=None, template=TEMPLATE))
    assert not isinstance(found, tuple) and found.inference and found.inference.template == TEMPLATE
    assert not isinstance(parse_inference_set(inference_set()), tuple)
