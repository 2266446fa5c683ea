"""Instance types of the user's own: from the operator's ConfigMap, or from the nodes' labels."""

from __future__ import annotations

import pytest

from kaito.api.core import CONFIG_MAP
from kaito.api.meta import Json
from kaito.plan.catalog import Sku, parse_skus
from kaito.settings import PlanSettings
from kaito.state.graph import StateGraph
from tests.builders import config_map, decode, node, workspace
from tests.unit.plan.test_workspace import REF, Life

FILE = """
skus:
- {name: Standard_New_B200, gpus: 8, memoryGiB: 1440, model: NVIDIA B200, nvme: true}
- {name: Standard_NC24ads_A100_v4, gpus: 1, memoryGiB: 24, model: NVIDIA A100 slice}
"""
SKU_FILE = CONFIG_MAP.ref("kaito-workspace", "kaito-skus")


def sku_file(text: str = FILE) -> Json:
    return config_map("kaito-skus", "kaito-workspace", skus__yaml=text)


def test_a_type_of_the_users_own_is_known_and_one_of_ours_is_overridden() -> None:
    found = parse_skus(FILE)
    assert found["standard_new_b200"] == Sku("Standard_New_B200", 8, 1440, "NVIDIA B200", has_nvme=True)
    life = Life(preset="llama-3.3-70b-instruct", instance_type="Standard_New_B200")
    life.world.put(sku_file())
    life.settle(0)
    assert (life.status["targetNodeCount"], len(life.claims())) == (1, 1)
    overridden = Life(preset="phi-4")
    overridden.world.put(sku_file())
    overridden.settle(0)
    assert overridden.status["targetNodeCount"] == 2  # one of our 80 GiB would do


def test_while_the_file_is_looked_up_an_unknown_type_waits() -> None:
    life = Life(instance_type="Standard_New_B200")
    life.world.unsynced_names.add(SKU_FILE)
    life.settle(0)
    (blocker,) = life.status["blockers"]
    assert (blocker["reason"], blocker["culprit"]) == ("InstanceTypesUnknown", f"{SKU_FILE}")


def test_a_broken_file_is_named_to_those_who_need_it_and_stops_nobody_else() -> None:
    life, other = Life(instance_type="Standard_New_B200"), Life()
    for each in (life, other):
        each.world.put(sku_file("skus: [{name: a, gpus: many}]"))
        each.settle(0)
    (blocker,) = life.status["blockers"]
    assert blocker["reason"] == "InvalidInstanceTypes" and "skus[0].memoryGiB: missing" in blocker["message"]
    assert len(other.claims()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("skus: [", "is not YAML"),
        ("skus: {}", "expected a list under the key skus"),
        ("[]", "expected a list under the key skus"),
        ("skus: [1]", "skus[0]: expected a mapping, got 1"),
        ("skus: [{nam: a}]", "skus[0].nam: no such field"),
        ("skus: [{name: a, gpus: yes, memoryGiB: 8, model: m}]", "skus[0].gpus: True, expected int"),
        ("skus: [{name: a, gpus: 0, memoryGiB: 8, model: m}]", "0 GPUs with 8 GiB"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".*") as caught:
        parse_skus(text)
    assert words in str(caught.value)


def test_users_nodes_without_gpu_labels_are_known_by_their_instance_type() -> None:
    life = Life(PlanSettings(node_provisioner="byo", benchmark=False), instance_type=None, preset="phi-4")
    life.world.put(sku_file(), node("n1", instance_type="Standard_New_B200", labels={"apps": "phi"}, gpus=8))
    life.settle(0)
    body = next(body for ref, body in life.world.bodies.items() if ref.kind == "StatefulSet")
    (server,) = body["spec"]["template"]["spec"]["containers"]
    assert server["resources"]["limits"] == {"nvidia.com/gpu": "8"}


def test_a_change_of_the_file_is_news_for_every_workspace() -> None:
    graph = StateGraph(standing=frozenset({SKU_FILE}))
    from kaito.api.workspace import WORKSPACE
    from kaito.state.events import Apply

    graph.apply(WORKSPACE, Apply(REF, decode(workspace())))
    assert SKU_FILE in graph.referenced()
    assert graph.apply_named(CONFIG_MAP, SKU_FILE, None) == {REF}
    assert graph.apply_named(CONFIG_MAP, SKU_FILE, decode(sku_file())) == {REF}
