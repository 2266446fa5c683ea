"""One row per way to break each rule of Workspace: the id of the rule is in the name of the test."""
# ruff: noqa: E501 (the table: one row a line)

from __future__ import annotations

import itertools
from copy import deepcopy
from typing import Any

import pytest

from kaito.api.meta import Json
from kaito.api.workspace import WORKSPACE
from kaito.plan.catalog import SKU_FILE_KEY, Lookup, lookup_text, model_status, parse_skus, presets
from kaito.plan.model import answer_key
from kaito.plan.validate import NothingKnown, errors_of, validate, warnings_of
from kaito.plan.validate.workspace import WORKSPACE_RULES
from kaito.settings import PlanSettings
from kaito.state.view import Answer
from tests.builders import START, World, config_map, node, workspace

POD_TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
NAP, KARPENTER, BYO = PlanSettings(), PlanSettings(node_provisioner="karpenter"), PlanSettings(node_provisioner="byo")
GPU_LABELS = {"nvidia.com/gpu.product": "A100", "nvidia.com/gpu.count": "1", "nvidia.com/gpu.memory": "81920"}
OURS = node("n1", labels={"apps": "phi", **GPU_LABELS})
TWIN = node("n2", labels={"apps": "phi", **GPU_LABELS})
VOLUME = {"emptyDir": {}}
TUNING = {
    "preset": {"name": "phi-4"},
    "method": "lora",
    "input": {"urls": ["https://a.b/c"]},
    "output": {"volumeSource": VOLUME},
}


def tuned(**more: Any) -> Json:
    body = workspace(instance_type="Standard_NC24ads_A100_v4")
    del body["inference"]
    return body | {"tuning": TUNING | more}


def adapters(*items: Json) -> Json:
    return workspace(inference={"adapters": list(items)})


def adapter(name: str = "a", **more: Any) -> Json:
    return {"source": {"name": name, "image": "reg.io/a:1"} | more}


def annotated(key: str, value: str, **more: Any) -> Json:
    return workspace(annotations={f"kaito.sh/{key}": value}, **more)


def changed(path: str, value: Any, old: Json | None = None) -> tuple[Json, Json]:
    """The old object and one that differs at the path; None removes."""
    before = old or workspace()
    after = deepcopy(before)
    *parents, last = path.split(".")
    place = after
    for part in parents:
        place = place[part]
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return before, after


def brought(partition: Json, **more: Any) -> Json:
    return workspace(instance_type=None, resource={"partition": partition}, **more)


def configured(text: str) -> tuple[Json, Json]:
    return workspace(config="c"), config_map("c", inference_config__yaml=text)


def with_token(preset: str, access: str = "public", **options: Any) -> Json:
    asked = {"name": preset, "accessMode": access, "presetOptions": {"modelAccessSecret": "token"} | options}
    return workspace(inference={"preset": asked})


CLASSES = PlanSettings(node_provisioner="karpenter", karpenter_node_classes=("gpu", "spot"))
HUB, NO_HUB = "org/model", PlanSettings(hub_endpoint="")
MODEL = next(iter(presets().values()))
E, W = "error", "warning"
# rule, severity, object (or old and new), settings, what else is in the cluster or known of the hub's model, words
TABLE: list[tuple[str, str, Any, PlanSettings, tuple[Json | Lookup, ...], str]] = [
    ("name", E, workspace("a" * 53), NAP, (), "53 characters, of which pods allow 52"),
    ("name", E, workspace("9lives"), NAP, (), "'9lives': cannot name a Service"),
    ("name", E, workspace("a.b"), NAP, (), "'a.b': cannot name a Service"),
    ("inference-xor-tuning", E, workspace() | {"inference": None}, NAP, (), "neither is given"),
    ("inference-xor-tuning", E, workspace() | {"tuning": TUNING}, NAP, (), "both are given"),
    ("instance-type-byo", E, workspace(), BYO, (), "resource.instanceType: 'Standard_NC24ads_A100_v4': must be empty"),
    ("instance-type-required", E, workspace(instance_type=None), NAP, (), "resource.instanceType: required"),
    ("instance-type-required", E, workspace(instance_type=None), KARPENTER, (), "provisioner karpenter"),
    ("instance-type-known", W, workspace(instance_type="Standard_NC24ads_A100_v5"), NAP, (), "kaito-skus, or did you mean Standard_NC24ads_A100_v4"),
    ("label-selector", E, workspace(resource={"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}), NAP, (), "only In with one value"),
    ("label-selector", E, workspace(resource={"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}}), NAP, (), "matchExpressions[0]"),
    ("label-selector-reserved", E, workspace(match_labels={"kaito.sh/workspace": "x"}), NAP, (), "add a label of your own"),
    ("partition-byo", E, workspace(resource={"partition": {"mode": "mig", "profile": "1g.10gb"}}), NAP, (), "only taken of nodes that users bring"),
    ("partition-mig", E, brought({"mode": "mig", "profile": "1g.10gb", "count": 1}), BYO, (), "resource.partition.count: 1"),
    ("partition-mig", E, brought({"mode": "mig", "profile": "9g.10gb"}), BYO, (), "'9g.10gb': no known MIG profile"),
    ("partition-accelerator", E, brought({"mode": "accelerator", "profile": "1g.5gb", "count": 1}), BYO, (), "profiles belong to mode mig"),
    ("partition-accelerator", E, brought({"mode": "accelerator"}), BYO, (), "needs the number of GPUs"),
    ("partition-fits", E, brought({"mode": "mig", "profile": "1g.5gb"}), BYO, (), "do not fit a slice of 5 GiB"),
    ("partition-fits", W, brought({"mode": "mig", "profile": "1g.5gb"}, annotations={"kaito.sh/bypass-resource-checks": ""}), BYO, (), "do not fit"),
    ("nodes-found", W, workspace(instance_type=None), BYO, (), "no node carries these labels"),
    ("nodes-gpu-labels", W, workspace(instance_type=None), BYO, (node("n1", labels={"apps": "phi"}),), "node n1 lacks nvidia.com/gpu.product"),
    ("nodes-uniform", W, workspace(instance_type=None), BYO, (OURS, node("n2", labels={"apps": "phi", **GPU_LABELS, "nvidia.com/gpu.count": "2"})), "differ in GPU product"),
    ("memory", E, annotated("runtime", "transformers", preset="llama-3.3-70b-instruct"), NAP, (), "are less than the weights' 131"),
    ("memory", W, workspace(preset="llama-3.3-70b-instruct", annotations={"kaito.sh/runtime": "transformers", "kaito.sh/bypass-resource-checks": "x"}), NAP, (), "are less than"),
    ("memory", W, workspace(preset="llama-3.3-70b-instruct", instance_type=None), BYO, (OURS,), "have 80 GiB of GPU memory together, less than the weights' 131.4 GiB"),
    ("multi-node-transformers", W, annotated("runtime", "transformers", preset="llama-3.3-70b-instruct", instance_type=None), BYO, (OURS, TWIN), "exceed each node"),
    ("multi-node-transformers", E, annotated("runtime", "transformers", preset="llama-3.3-70b-instruct"), NAP, (), "on one only"),
    ("node-image-family", E, annotated("node-image-family", "windows"), NAP, (), "'windows': no known node image family"),
    ("node-class-name", E, annotated("node-class-name", "mine"), CLASSES, (), "use one of gpu, spot, or remove it for gpu"),
    ("node-class-name", E, annotated("node-class-name", "A_b"), KARPENTER, (), "'A_b': cannot be the name of a node class"),
    ("performance-mode", E, annotated("performance-mode", "fast"), NAP, (), "use one of balanced, interactivity, throughput"),
    ("use-local-weights", E, annotated("use-local-weights", "yes"), NAP, (), "use one of true, false"),
    ("runtime", W, annotated("runtime", "tgi"), NAP, (), "'tgi': no known runtime; vllm is used"),
    ("container-resources", E, annotated("container-resources", "8 cpus"), NAP, (), "is not JSON"),
    ("preset-xor-template", E, workspace(preset=None), NAP, (), "neither preset nor template is given"),
    ("preset-xor-template", E, workspace(template=POD_TEMPLATE), NAP, (), "both preset and template are given"),
    ("preset-deprecated", E, workspace(preset="phi-2"), NAP, (), "'phi-2': is deprecated"),
    ("preset-known", E, workspace(preset="phi-35-mini"), NAP, (), "'phi-35-mini': is not in the catalogue; did you mean phi-3.5-mini"),
    ("preset-known", E, workspace(preset="org/"), NAP, (), "'org/': is not in the catalogue"),
    ("model-lookup", E, workspace(preset=HUB), NO_HUB, (), "'org/model': org/model is not in the catalogue, and the model hub is turned off"),
    ("model-lookup", W, workspace(preset=HUB), NAP, (), "not checked: the hub has not been asked"),
    ("model-lookup", E, workspace(preset=HUB), NAP, (Lookup("missing", "it is not on the hub"),), "it is not on the hub; check the name"),
    ("model-lookup", E, workspace(preset=HUB), NAP, (Lookup("unsupported", "it is a picture"),), "it is a picture; choose another model"),
    ("model-lookup", W, with_token(HUB), NAP, (Lookup("gated", "it is gated"),), "it is gated; accept its licence"),
    ("model-lookup", W, with_token(HUB), NAP, (Lookup("no-token", "no such Secret"),), "no such Secret; kubectl create secret generic token"),
    ("model-lookup", W, workspace(preset=HUB), NAP, (Lookup("unreachable", "no route"),), "no route; check the operator's way to the hub"),
    ("model-lookup", E, tuned(preset={"name": HUB}), NAP, (Lookup("missing", "it is not on the hub"),), "tuning.preset.name: 'org/model'"),
    ("model-access-secret", E, workspace(preset=HUB), NAP, (Lookup("gated", "it is gated"),), "inference.preset.presetOptions.modelAccessSecret: org/model is gated"),
    ("model-access-secret", E, workspace(preset=HUB), NAP, (Lookup("found", model=MODEL, is_gated=True),), "its pods have no token"),
    ("model-access-secret", E, with_token("phi-4", "private", image="reg.io/phi:1"), NAP, (), "modelAccessSecret: 'token': the weights are not downloaded"),
    ("model-streaming", W, annotated("model-mirror-storage-class", "fast"), NAP, (), "there is no model streaming here"),
    ("adapters-max", E, adapters(*(adapter(f"a{i}") for i in range(11))), NAP, (), "inference.adapters: 11: more than 10 adapters"),
    ("adapter-names", E, adapters(adapter(), adapter()), NAP, (), "inference.adapters[1].source.name: 'a': two adapters have this name"),
    ("adapter-names", E, adapters(adapter("")), NAP, (), "inference.adapters[0].source.name: a name is needed"),
    ("adapter-names", E, adapters(adapter("A_b")), NAP, (), "'A_b': no DNS-1123 subdomain"),
    ("adapter-source", E, adapters({"strength": "1"}), NAP, (), "inference.adapters[0].source: expected a name"),
    ("adapter-source", E, adapters(adapter(volumeSource=VOLUME)), NAP, (), "one of image and volumeSource"),
    ("adapter-source", E, adapters(adapter(urls=["https://a.b/c"])), NAP, (), "not downloaded from URLs"),
    ("adapter-source", E, adapters(adapter(image="Not An Image")), NAP, (), "inference.adapters[0].source.image"),
    ("adapter-strength", E, adapters(adapter() | {"strength": "2"}), NAP, (), "'2': no number from 0 to 1"),
    ("adapter-strength", E, adapters(adapter() | {"strength": "nan"}), NAP, (), "'nan': no number from 0 to 1"),
    ("adapter-strength-vllm", E, adapters(adapter() | {"strength": "0.5"}), NAP, (), "vLLM applies adapters in full"),
    ("inference-config", W, workspace(config="c"), NAP, (), "inference.config: 'c': there is no such ConfigMap in namespace default"),
    ("inference-config", E, workspace(config="c"), NAP, (config_map("c", other="x"),), "lacks the key inference_config.yaml"),
    ("inference-config", E, configured("a: [")[0], NAP, (configured("a: [")[1],), "is not YAML"),
    ("inference-config", E, configured("tfs: {}")[0], NAP, (configured("tfs: {}")[1],), "has no map `vllm`"),
    ("inference-config", E, configured("")[0], NAP, (configured("vllm: {max-model-len: lots}")[1],), "'lots': no positive number"),
    ("inference-config", E, configured("")[0], NAP, (configured("vllm: {max-model-len: 999999999}")[1],), "tokens at most"),
    ("tuning-machines", E, tuned() | {"resource": workspace(count=2)["resource"]}, NAP, (), "tuning runs on one node"),
    ("tuning-machines", E, tuned() | {"resource": brought({"mode": "accelerator", "count": 1})["resource"]}, BYO, (), "resource.partition"),
    ("tuning-method", E, tuned(method="dora"), NAP, (), "'dora': expected lora or qlora"),
    ("tuning-preset", E, tuned(preset=None), NAP, (), "tuning.preset: missing"),
    ("tuning-input", E, tuned(input={}), NAP, (), "tuning.input: expected exactly one of urls, image and volumeSource"),
    ("tuning-input", E, tuned(input={"urls": ["file:///etc/passwd"]}), NAP, (), "expected http or https"),
    ("tuning-input", E, tuned(input={"urls": ["http://169.254.169.254/x"]}), NAP, (), "tuning.input.urls[0]"),
    ("tuning-output", E, tuned(output={"image": "reg.io/a:1"}), NAP, (), "tuning.output.imagePushSecret: missing"),
    ("tuning-config", W, tuned(config="c"), NAP, (), "there is no such ConfigMap"),
    ("tuning-config", E, tuned(config="c"), NAP, (config_map("c", training_config__yaml="training_config: {Foo: {}}"),), "Foo: unknown section"),
    ("adapter-source", E, changed("inference.adapters", [{"source": {"name": "a", "urls": ["https://a.b/c"]}}]), NAP, (), "not downloaded from URLs"),
    ("adapter-names", E, changed("inference.adapters", [adapter(), adapter()]), NAP, (), "two adapters have this name"),
    ("adapter-strength", E, changed("inference.adapters", [adapter() | {"strength": "-1"}]), NAP, (), "'-1': no number from 0 to 1"),
    ("tuning-input", E, changed("tuning.input", {"image": "Not An Image"}, tuned()), NAP, (), "tuning.input.image"),
    ("instance-type-required", E, changed("resource.instanceType", None), NAP, (), "resource.instanceType: required"),
    ("instance-type-byo", E, changed("resource.instanceType", "Standard_NC24ads_A100_v4", workspace(instance_type=None)), BYO, (), "must be empty"),
    ("label-selector", E, changed("resource.labelSelector", {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}), NAP, (), "only In with one value"),
    ("section-immutable", E, (workspace(), tuned()), NAP, (), "inference: cannot be added or removed"),
    ("count-immutable", E, changed("resource.count", 3), NAP, (), "resource.count: 3: cannot change (it was 1)"),
    ("partition-immutable", E, changed("resource.partition", {"mode": "accelerator", "count": 2}, brought({"mode": "accelerator", "count": 1})), BYO, (), "resource.partition"),
    ("label-selector-immutable", E, changed("resource.labelSelector", {"matchLabels": {"apps": "other"}}), NAP, (), "resource.labelSelector"),
    ("instance-type-immutable", E, changed("resource.instanceType", "Standard_NC48ads_A100_v4"), NAP, (), "it was 'Standard_NC24ads_A100_v4'"),
    ("instance-type-immutable", E, changed("resource.instanceType", "Standard_NC48ads_A100_v4"), BYO, (), "leave it, or remove it"),
    ("preset-immutable", E, changed("inference.preset.name", "phi-4"), NAP, (), "inference.preset"),
    ("template-immutable", E, changed("inference.template", POD_TEMPLATE), NAP, (), "inference.template"),
    ("tuning-immutable", E, changed("tuning.method", "qlora", tuned()), NAP, (), "tuning.method: 'qlora': cannot change (it was 'lora')"),
    ("tuning-immutable", E, changed("tuning.input", {"name": "x", "urls": ["https://a.b/c"]}, tuned()), NAP, (), "tuning.input.name"),
]  # fmt: skip
# The numbers of `facts/operator.md`: 2.1 is what is asked of a new Workspace, 2.2 of a changed one. Rules without a
# number are ours alone. Of 19, no preset forbids LoRA, and every one is served by transformers; 23 stands for all of
# model streaming, which there is none of.
NUMBERS = {
    "name": "2.1.0",
    "inference-xor-tuning": "2.1.1",
    "instance-type-byo": "2.1.2",
    "instance-type-required": "2.1.2",
    "node-image-family": "2.1.3",
    "performance-mode": "2.1.4",
    "use-local-weights": "2.1.4",
    "node-class-name": "2.1.5",
    "preset-deprecated": "2.1.6",
    "label-selector": "2.1.7",
    "label-selector-reserved": "2.1.8",
    "partition-mig": "2.1.9",
    "partition-accelerator": "2.1.9",
    "partition-fits": "2.1.9",
    "nodes-found": "2.1.10",
    "nodes-gpu-labels": "2.1.11",
    "nodes-uniform": "2.1.12",
    "partition-byo": "2.1.13",
    "instance-type-known": "2.1.14",
    "memory": "2.1.15",
    "multi-node-transformers": "2.1.16",
    "preset-xor-template": "2.1.17",
    "preset-known": "2.1.17",
    "model-lookup": "2.1.18",
    "adapter-strength-vllm": "2.1.19",
    "model-access-secret": "2.1.20",
    "adapters-max": "2.1.21",
    "adapter-names": "2.1.21",
    "inference-config": "2.1.22",
    "model-streaming": "2.1.23",
    "tuning-machines": "2.1.24",
    "tuning-method": "2.1.25",
    "tuning-config": "2.1.25",
    "tuning-preset": "2.1.26",
    "tuning-input": "2.1.27",
    "tuning-output": "2.1.28",
    "section-immutable": "2.2.1",
    "count-immutable": "2.2.1",
    "partition-immutable": "2.2.1",
    "label-selector-immutable": "2.2.1",
    "instance-type-immutable": "2.2.2",
    "preset-immutable": "2.2.3",
    "template-immutable": "2.2.3",
    "adapter-source": "2.2.3",
    "adapter-strength": "2.2.3",
    "tuning-immutable": "2.2.4",
}
OURS_ALONE = {"runtime", "container-resources"}
IDS = [f"{NUMBERS.get(row[0], 'ours')}-{row[0]}-{row[1]}-{number}" for number, row in enumerate(TABLE)]


def pair(made: Any) -> tuple[Json, Json | None]:
    return (made[1], made[0]) if isinstance(made, tuple) else (made, None)


def world_of(beside: tuple[Json | Lookup, ...]) -> World:
    world = World(*(each for each in beside if not isinstance(each, Lookup)))
    for each in beside:
        if isinstance(each, Lookup):
            world.answers[WORKSPACE.ref("default", "phi"), answer_key(HUB)] = Answer(lookup_text(each), START)
    return world


@pytest.mark.parametrize(("rule", "severity", "made", "settings", "beside", "words"), TABLE, ids=IDS)
def test_rule(
    rule: str, severity: str, made: Any, settings: PlanSettings, beside: tuple[Json | Lookup, ...], words: str
) -> None:
    new, old = pair(made)
    found = [item for item in validate(new, old, world_of(beside), settings) if item.rule == rule]
    assert [item.severity for item in found if words in str(item)] == [severity], [str(item) for item in found]
    assert all(item.field and (item.remedy or "not checked" in item.message) for item in found)


def test_every_rule_of_the_table_is_broken_by_some_row() -> None:
    assert {rule.id for rule in WORKSPACE_RULES} == {row[0] for row in TABLE}
    assert len({rule.id for rule in WORKSPACE_RULES}) == len(WORKSPACE_RULES)
    assert {rule.id for rule in WORKSPACE_RULES} - NUMBERS.keys() == OURS_ALONE
    assert {f"2.1.{number}" for number in range(29)} | {f"2.2.{number}" for number in range(1, 5)} == {
        *NUMBERS.values()
    }


GOOD: dict[str, tuple[Any, PlanSettings]] = {
    "preset": (workspace(), NAP),
    "alias in capitals": (workspace(preset="MISTRAL-7B"), NAP),
    "template": (workspace(preset=None, template=POD_TEMPLATE), NAP),
    "adapter": (adapters(adapter()), NAP),
    "own nodes": (workspace(instance_type=None), BYO),
    "slice": (brought({"mode": "mig", "profile": "1g.10gb"}), BYO),
    "tuning": (tuned(), NAP),
    "type given once": (changed("resource.instanceType", "Standard_NC24ads_A100_v4", workspace(instance_type=None)), NAP),
    "type cleared": (changed("resource.instanceType", None), BYO),
    "expression for label": (
        changed(
            "resource.labelSelector",
            {"matchExpressions": [{"key": "apps", "operator": "In", "values": ["phi"]}]},
        ),
        NAP,
    ),
    "template edited": (
        changed("inference.template", {"spec": POD_TEMPLATE["spec"] | {"x": 1}}, workspace(preset=None, template=POD_TEMPLATE)),
        NAP,
    ),
    "v1alpha1 on own nodes": (workspace() | {"apiVersion": "kaito.sh/v1alpha1"}, BYO),
}  # fmt: skip


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_what_is_right_breaks_no_rule(case: tuple[Any, PlanSettings]) -> None:
    made, settings = case
    new, old = pair(made)
    assert [str(item) for item in validate(new, old, World(OURS), settings)] == []


@pytest.mark.parametrize("row", TABLE, ids=IDS)
def test_a_deletion_and_what_was_wrong_before_are_never_blocked(row: Any) -> None:
    new, _ = pair(row[2])
    world, settings = world_of(row[4]), row[3]
    leaving = deepcopy(new)
    leaving["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": []}
    assert validate(leaving, new, world, settings) == ()
    relabelled = deepcopy(new)
    relabelled["metadata"]["labels"] = {"team": "a"}
    relabelled["metadata"]["finalizers"] = ["other"]
    assert errors_of(validate(relabelled, new, world, settings)) == ()


def test_what_does_not_fit_the_schema_is_told_by_field_and_blocks_only_what_is_new() -> None:
    broken = workspace(resource={"labelSelector": None})
    (found,) = validate(broken, workspace(), NothingKnown(), NAP)
    assert (found.rule, found.field, found.severity) == ("schema", "resource.labelSelector", "error")
    assert errors_of(validate(broken, broken, NothingKnown(), NAP)) == ()


def test_without_a_look_at_the_cluster_its_rules_are_warnings() -> None:
    made = workspace(instance_type=None, config="c")
    assert [item.rule for item in warnings_of(validate(made, None, NothingKnown(), BYO))] == [
        "nodes-found",
        "inference-config",
    ]


def test_an_instance_type_of_the_users_own_file_is_known() -> None:
    text = "skus:\n- {name: Mine_8x, gpus: 8, memoryGiB: 640, model: NVIDIA X}\n"
    body = config_map(NAP.sku_config_map, NAP.release_namespace)
    body["data"] = {SKU_FILE_KEY: text}
    made = workspace(instance_type="Mine_8x")
    assert [item.rule for item in validate(made, None, World(), NAP)] == ["instance-type-known"]
    assert parse_skus(text) and validate(made, None, World(body), NAP) == ()


def test_a_model_that_the_hub_has_and_one_that_was_decided_before_break_no_rule() -> None:
    found = world_of((Lookup("found", model=MODEL),))
    assert validate(workspace(preset=HUB), None, found, NAP) == ()
    gated = world_of((Lookup("found", model=MODEL, is_gated=True),))
    assert validate(with_token(HUB), None, gated, NAP) == ()
    assert validate(annotated("use-local-weights", "true", preset=HUB), None, gated, NAP) == ()
    decided = workspace(preset=HUB, status={"model": model_status(HUB, MODEL)})
    assert validate(decided, None, World(), NO_HUB) == ()
    assert validate(annotated("model-streaming", "disabled"), None, World(), NAP) == ()


def test_two_wrongs_are_told_together_errors_first() -> None:
    found = validate(annotated("runtime", "tgi", preset="phi-2"), None, World(), NAP)
    assert [item.severity for item in found] == ["error", "warning"]


def test_a_kind_without_rules_is_let_in() -> None:
    assert validate({"kind": "Pod", "metadata": {}}, None, World(), NAP) == ()


def test_rules_are_pure() -> None:
    for row in itertools.islice(TABLE, 20):
        new, old = pair(row[2])
        before = deepcopy(new)
        validate(new, old, world_of(row[4]), row[3])
        assert new == before


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ({"apps": "x" * 64}, "resource.labelSelector.matchLabels[apps]"),
        ({"apps": "größe"}, "resource.labelSelector.matchLabels[apps]"),
        ({"a b": "x"}, "resource.labelSelector.matchLabels"),
        ({"": "x"}, "resource.labelSelector.matchLabels"),
        ({"a b/c": "x"}, "resource.labelSelector.matchLabels"),
        ({"a/b/c": "x"}, "resource.labelSelector.matchLabels"),
    ],
)
def test_labels_that_no_node_can_carry_are_refused(labels: dict[str, str], field: str) -> None:
    found = errors_of(validate(workspace(match_labels=labels), None, NothingKnown(), NAP))
    assert [(each.rule, each.field) for each in found] == [("label-selector", field)]
