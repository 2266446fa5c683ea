"""Rules of Workspace: its name, the machines that it asks for, and the nodes that a user brings."""

from __future__ import annotations

import re

from kaito.api.core import NODE, Node
from kaito.api.crds import V1ALPHA1_INSTANCE_TYPE
from kaito.api.meta import ObjectMeta
from kaito.api.names import (
    BYPASS_RESOURCE_CHECKS_ANNOTATION,
    NODE_CLASS_NAME_ANNOTATION,
    NODE_IMAGE_FAMILY_ANNOTATION,
    RUNTIME_ANNOTATION,
)
from kaito.api.workspace import Workspace
from kaito.plan.catalog import Preset, find_sku
from kaito.plan.catalog.mig import MIG_PROFILES, mig_memory_gib
from kaito.plan.model import known_model, preset_asked
from kaito.plan.validate.common import instance_type_findings, name_findings, reserved_findings, selector_findings
from kaito.plan.validate.rule import Case, Findings, Found
from kaito.plan.validate.violation import Severity
from kaito.state.edges import selector_of

DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
IMAGE_FAMILIES = ("azurelinux", "ubuntu")
GPU_LABELS = ("nvidia.com/gpu.product", "nvidia.com/gpu.count", "nvidia.com/gpu.memory")


def is_byo(case: Case[Workspace]) -> bool:
    return case.settings.node_provisioner == "byo"


def annotation(case: Case[Workspace], key: str) -> str | None:
    return case.new.metadata.annotation(key)


def annotation_path(key: str) -> str:
    return f"metadata.annotations[{key}]"


def resource_severity(metadata: ObjectMeta) -> Severity:
    """Memory checks are warnings for those who say that they know better."""
    return "warning" if metadata.annotation(BYPASS_RESOURCE_CHECKS_ANNOTATION) is not None else "error"


def name(case: Case[Workspace]) -> Findings:
    yield from name_findings(case.new.metadata.name)


def instance_type_byo(case: Case[Workspace]) -> Findings:
    """On the user's own nodes there is no type to ask for. v1alpha1 fills one in by itself."""
    given = case.new.resource.instance_type
    if not is_byo(case) or not given or (case.version == "v1alpha1" and given == V1ALPHA1_INSTANCE_TYPE):
        return
    if case.old is not None and case.old.resource.instance_type == given:
        return
    why = "must be empty where users bring their own nodes (node provisioner byo)"
    yield Found("resource.instanceType", given, why, "remove it; nodes are chosen by resource.labelSelector")


def instance_type_required(case: Case[Workspace]) -> Findings:
    if not is_byo(case) and not case.new.resource.instance_type:
        why = f"required where nodes are provisioned (node provisioner {case.settings.node_provisioner})"
        yield Found("resource.instanceType", None, why, "name an instance type (see `kaito estimate --list-skus`)")


def instance_type_known(case: Case[Workspace]) -> Findings:
    if not is_byo(case):
        yield from instance_type_findings(case, case.new.resource.instance_type, "resource.instanceType")


def label_selector(case: Case[Workspace]) -> Findings:
    yield from selector_findings(case.new.resource.label_selector, "resource.labelSelector")


def label_selector_reserved(case: Case[Workspace]) -> Findings:
    yield from reserved_findings(case.new.resource.label_selector, "resource.labelSelector")


def partition_byo(case: Case[Workspace]) -> Findings:
    partition = case.new.resource.partition
    if partition is not None and not is_byo(case):
        why = "parts of GPUs are only taken of nodes that users bring"
        yield Found("resource.partition", partition.mode, why, "remove it, or run the operator with provisioner byo")


def partition_mig(case: Case[Workspace]) -> Findings:
    partition = case.new.resource.partition
    if partition is None or partition.mode != "mig":
        return
    if partition.count is not None:
        yield Found("resource.partition.count", partition.count, "a MIG slice is one device", "remove count")
    if partition.profile not in MIG_PROFILES:
        remedy = f"use one of {', '.join(sorted(MIG_PROFILES))}"
        yield Found("resource.partition.profile", partition.profile, "no known MIG profile", remedy)


def partition_accelerator(case: Case[Workspace]) -> Findings:
    partition = case.new.resource.partition
    if partition is None or partition.mode != "accelerator":
        return
    if partition.profile:
        why = "profiles belong to mode mig"
        yield Found("resource.partition.profile", partition.profile, why, "remove profile, or set mode mig")
    if partition.count is None:
        why = "mode accelerator needs the number of GPUs"
        yield Found("resource.partition.count", None, why, "set how many GPUs of the node to use")


def partition_fits(case: Case[Workspace]) -> Findings:
    partition, preset = case.new.resource.partition, preset_of(case)
    if partition is None or partition.mode != "mig" or preset is None:
        return
    memory_gib = mig_memory_gib(partition.profile)
    if memory_gib is not None and preset.weights_gib > memory_gib:
        why = f"{preset.weights_gib:.1f} GiB of weights do not fit a slice of {memory_gib} GiB"
        remedy = f"take a larger slice or a smaller model, or set the annotation {BYPASS_RESOURCE_CHECKS_ANNOTATION}"
        yield Found("resource.partition.profile", partition.profile, why, remedy, resource_severity(case.new.metadata))


def nodes_found(case: Case[Workspace]) -> Findings:
    if not _measures_nodes(case):
        return
    labels = selector_of(case.new)
    if not case.view.is_synced(NODE):
        why = "not checked: the nodes are not known yet"
        yield Found("resource.labelSelector", None, why, "", "warning")
    elif not case.view.nodes(labels):
        remedy = "label a node so, or correct the selector; the Workspace waits for such a node"
        yield Found("resource.labelSelector", labels, "no node carries these labels", remedy, "warning")


def nodes_gpu_labels(case: Case[Workspace]) -> Findings:
    for node in _nodes(case):
        if missing := [key for key in GPU_LABELS if not node.metadata.label(key)]:
            why = f"node {node.metadata.name} lacks {', '.join(missing)}, so its GPUs are not known"
            remedy = "install NVIDIA GPU feature discovery, or set the labels by hand"
            yield Found("resource.labelSelector", selector_of(case.new), why, remedy, "warning")
            return


def nodes_uniform(case: Case[Workspace]) -> Findings:
    shapes = {tuple(node.metadata.label(key) for key in GPU_LABELS) for node in _nodes(case)}
    if len(shapes) > 1:
        why = "the nodes with these labels differ in GPU product, count or memory"
        remedy = "label nodes of one kind only; the Workspace is sized by the first of them"
        yield Found("resource.labelSelector", selector_of(case.new), why, remedy, "warning")


def memory(case: Case[Workspace]) -> Findings:
    """Of machines that are made, only where no estimator decides on their number: with the transformers runtime.

    Of nodes that the user brings, what they have together now; others may join, so that it is a warning.
    """
    if is_byo(case):
        yield from _memory_of_nodes(case)
        return
    preset, sku = preset_of(case), find_sku(case.settings.cloud_provider, case.new.resource.instance_type)
    if preset is None or sku is None or not is_transformers(case) or case.new.inference is None:
        return
    total_gib = case.new.resource.count * sku.memory_gib
    if total_gib < preset.weights_gib:
        why = (
            f"{case.new.resource.count} x {sku.memory_gib} GiB are less than the weights' {preset.weights_gib:.1f} GiB"
        )
        remedy = f"choose a larger type, or set the annotation {BYPASS_RESOURCE_CHECKS_ANNOTATION}"
        yield Found("resource.instanceType", sku.name, why, remedy, resource_severity(case.new.metadata))


def _memory_of_nodes(case: Case[Workspace]) -> Findings:
    preset, shapes = preset_of(case), _shapes(case)
    if preset is None or not shapes:
        return
    total_gib, where = sum(shapes), "resource.labelSelector"
    bypass = f"or set the annotation {BYPASS_RESOURCE_CHECKS_ANNOTATION}"
    if total_gib < preset.weights_gib:
        why = f"the nodes with these labels have {total_gib} GiB of GPU memory together, less than the weights' "
        why += f"{preset.weights_gib:.1f} GiB"
        yield Found(where, selector_of(case.new), why, f"add nodes with these labels, {bypass}", "warning")


def _multi_node_of_nodes(case: Case[Workspace]) -> Findings:
    preset, shapes = preset_of(case), _shapes(case)
    if preset is None or not shapes or not is_transformers(case) or preset.weights_gib <= max(shapes):
        return
    why = f"{preset.weights_gib:.1f} GiB of weights exceed each node, and transformers serves on one only"
    remedy = f"add a larger node with these labels, or remove the annotation {RUNTIME_ANNOTATION}"
    yield Found("resource.labelSelector", selector_of(case.new), why, remedy, "warning")


def _shapes(case: Case[Workspace]) -> list[int]:
    """GPU memory in GiB of each node of the user's; empty where one of them does not tell."""
    found = [[node.metadata.label(key) or "" for key in GPU_LABELS[1:]] for node in _nodes(case)]
    if not all(count.isdecimal() and mib.isdecimal() for count, mib in found):
        return []
    return [int(count) * round(int(mib) / 1024) for count, mib in found]


def multi_node_transformers(case: Case[Workspace]) -> Findings:
    if is_byo(case):
        yield from _multi_node_of_nodes(case)
        return
    preset, sku = preset_of(case), find_sku(case.settings.cloud_provider, case.new.resource.instance_type)
    if preset is None or sku is None or not is_transformers(case) or case.new.inference is None:
        return
    if preset.weights_gib > sku.memory_gib:
        why = f"{preset.weights_gib:.1f} GiB of weights exceed one machine, and transformers serves on one only"
        remedy = f"choose a larger type, or remove the annotation {RUNTIME_ANNOTATION}"
        yield Found("resource.instanceType", sku.name, why, remedy)


def node_image_family(case: Case[Workspace]) -> Findings:
    given = annotation(case, NODE_IMAGE_FAMILY_ANNOTATION)
    if given is not None and given.strip().lower() not in IMAGE_FAMILIES:
        path = annotation_path(NODE_IMAGE_FAMILY_ANNOTATION)
        yield Found(path, given, "no known node image family", f"use one of {', '.join(IMAGE_FAMILIES)}")


def node_class_name(case: Case[Workspace]) -> Findings:
    """Those that the operator's flag names, where it names any."""
    given, allowed = annotation(case, NODE_CLASS_NAME_ANNOTATION), case.settings.karpenter_node_classes
    if not given or case.settings.node_provisioner != "karpenter":
        return
    path = annotation_path(NODE_CLASS_NAME_ANNOTATION)
    if not DNS_SUBDOMAIN.fullmatch(given):
        yield Found(path, given, "cannot be the name of a node class", "name one of the cluster's node classes")
    elif allowed and given not in allowed:
        why = "not one of the node classes that Workspaces may use (--karpenter-node-classes)"
        yield Found(path, given, why, f"use one of {', '.join(allowed)}, or remove it for {allowed[0]}")


def preset_of(case: Case[Workspace]) -> Preset | None:
    """The model of either section, as far as it is known."""
    asked = preset_asked(case.new)
    return known_model(case.view, case.new.ref, case.new.status, asked) if asked else None


def is_transformers(case: Case[Workspace]) -> bool:
    return annotation(case, RUNTIME_ANNOTATION) == "transformers"


def _measures_nodes(case: Case[Workspace]) -> bool:
    inference = case.new.inference
    return bool(is_byo(case) and inference and inference.preset and case.new.resource.partition is None)


def _nodes(case: Case[Workspace]) -> tuple[Node, ...]:
    is_asked = _measures_nodes(case) and case.view.is_synced(NODE)
    return case.view.nodes(selector_of(case.new)) if is_asked else ()
