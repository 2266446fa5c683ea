"""The machine that a root runs on: a row of the cloud's table or of the user's own, or what nodes say they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kaito.api.core import CONFIG_MAP, Node
from kaito.api.names import LABEL_INSTANCE_TYPE
from kaito.api.workspace import Partition, Workspace
from kaito.plan.catalog import SKU_FILE_KEY, Sku, find_sku, parse_skus, similar_skus
from kaito.plan.catalog.mig import mig_memory_gib
from kaito.plan.model import GATE
from kaito.plan.roots import RootMeta
from kaito.plan.snapshot import is_node_ready, node_ref
from kaito.plan.verdict import EARLIER_STAGE, EARLIER_STAGE_STEP, LOOKING_UP, Failed, Waiting
from kaito.settings import PlanSettings
from kaito.state.edges import selector_of
from kaito.state.view import ClusterView

GPU_LABELS = ("product", "count", "memory")


def judge_machine(
    view: ClusterView, root: RootMeta, ws: Workspace, instance_type: str, settings: PlanSettings
) -> Sku | Waiting | Failed:
    """`instance_type`: what is asked for; of no account on nodes that the user brings. Or why it is not known."""
    own, wrong = _own_skus(view, settings)
    if settings.node_provisioner == "byo":
        found = _of_nodes(root, view.nodes(selector_of(ws)), own, settings)
        return _part(root, found, ws.resource.partition) if isinstance(found, Sku) else found
    if sku := own.get(instance_type.lower()) or find_sku(settings.cloud_provider, instance_type):
        return sku
    message = f"resource.instanceType: {instance_type!r} is not known on {settings.cloud_provider}"
    ref = CONFIG_MAP.ref(settings.release_namespace, settings.sku_config_map)
    if not view.is_synced_ref(CONFIG_MAP, ref.namespace, ref.name):
        words = f"{message}; whether {ref} knows it is being looked up"
        return Waiting(GATE, "InstanceTypesUnknown", words, ref, LOOKING_UP)
    if wrong:
        step = f"correct ConfigMap {ref.name} in namespace {ref.namespace}"
        return Failed(GATE, "InvalidInstanceTypes", f"{message}; {ref}: {wrong}", ref, step)
    step = _choose(similar_skus(settings.cloud_provider, instance_type))
    return Failed(GATE, "UnknownInstanceType", message, root.ref, step)


def _own_skus(view: ClusterView, settings: PlanSettings) -> tuple[Mapping[str, Sku], str]:
    """The user's own instance types, and what is wrong with the file that should name them."""
    found = view.config_map(settings.release_namespace, settings.sku_config_map)
    try:
        return parse_skus(found.data.get(SKU_FILE_KEY, "")) if found else {}, ""
    except ValueError as error:
        return {}, str(error)


def _choose(similar: tuple[str, ...]) -> str:
    where = f", such as {', '.join(similar)}" if similar else " (see `kaito estimate`)"
    return "choose another instance type" + where


def _of_nodes(
    root: RootMeta, nodes: tuple[Node, ...], own: Mapping[str, Sku], settings: PlanSettings
) -> Sku | Waiting | Failed:
    """What the user's own nodes are: from the labels of NVIDIA's feature discovery on the first ready one that has
    them, else from its instance type, where that is known.
    """
    if not nodes:
        # The gate of the nodes says which labels nobody carries.
        message = "no node to measure: none carries the labels of resource.labelSelector"
        return Waiting(GATE, EARLIER_STAGE, message, root.ref, EARLIER_STAGE_STEP, is_symptom=True)
    for node in sorted(nodes, key=lambda node: not is_node_ready(node)):
        product, count, memory_mib = (node.metadata.label(f"nvidia.com/gpu.{key}") for key in GPU_LABELS)
        if product and count and memory_mib and count.isdecimal() and memory_mib.isdecimal() and int(count):
            return Sku(product, int(count), round(int(memory_mib) / 1024) * int(count), product)
    for node in nodes:
        name = node.metadata.label(LABEL_INSTANCE_TYPE) or ""
        if sku := own.get(name.lower()) or find_sku(settings.cloud_provider, name):
            return sku
    labels = ", ".join(f"nvidia.com/gpu.{key}" for key in GPU_LABELS)
    message = f"{nodes[0].metadata.name} lacks one of the labels {labels}, so its GPUs are not known"
    step = "install NVIDIA GPU feature discovery, or set the labels by hand (memory in MiB of one GPU)"
    return Failed(GATE, "GPULabelsMissing", message, node_ref(nodes[0]), step)


def _part(root: RootMeta, sku: Sku, partition: Partition | None) -> Sku | Failed:
    """The part of the node that the Workspace asks for: some of its accelerators, or one MIG slice."""
    if partition is None:
        return sku
    if partition.mode == "accelerator":
        count = partition.count or sku.gpus
        if count > sku.gpus:
            message = f"resource.partition.count: {count} exceeds the {sku.gpus} GPUs of the node"
            return Failed(GATE, "InvalidWorkspace", message, root.ref, "ask for as many as there are, or fewer")
        return replace(sku, gpus=count, memory_gib=sku.memory_gib * count // sku.gpus)
    memory_gib = mig_memory_gib(partition.profile)
    if memory_gib is None:
        message = f"resource.partition.profile: {partition.profile!r} is no MIG profile such as 1g.10gb"
        return Failed(GATE, "InvalidWorkspace", message, root.ref, "name a profile of the node's GPUs")
    return replace(sku, gpus=1, memory_gib=memory_gib, resource=f"nvidia.com/mig-{partition.profile}")
