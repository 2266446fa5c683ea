"""Gate: the nodes are there and their kubelets call them Ready."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from kaito.api.core import Node
from kaito.api.meta import condition
from kaito.api.nodeclaim import NodeClaim
from kaito.plan.provision.expiry import NODE_READY_GATE, lost_since, missing_ref
from kaito.plan.snapshot import Snapshot, is_node_ready, node_ref, parse_time, transition_time
from kaito.plan.stock import has_reached
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting, at_least

NAME = NODE_READY_GATE
CONDITION = "NodesReady"

UNSEEN_S = 10.0  # two watch streams are never further apart than this, unless something is wrong
PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")


def judge(s: Snapshot) -> Verdict | None:
    if s.is_byo and not s.nodes and not s.stock.rivals:
        return _no_match(s)
    verdicts = [_judge_node(s, node) for node in s.nodes]
    verdicts += [_lost(s, claim) for claim in s.stock.counted if _is_lost(s, claim)]
    if s.is_byo and len(verdicts) < s.needed:
        return _taken(s) if s.stock.rivals else _too_few(s)
    return at_least(NAME, s.needed, verdicts, what="nodes ready", root=s.ref)


def _judge_node(s: Snapshot, node: Node) -> Verdict:
    name = node.metadata.name
    if is_node_ready(node):
        return Ready(NAME, f"{name} is Ready{_pressure(node)}", node_ref(node), _since(node))
    if node.metadata.deletion_timestamp:
        since = parse_time(node.metadata.deletion_timestamp)
        step = "wait for the node to go; its NodeClaim is replaced"
        return Waiting(NAME, "NodeNotReady", f"{name} is being deleted", node_ref(node), step, since)
    found = condition(node.status.conditions, "Ready")
    words = (found.message or found.reason) if found else "the kubelet has not reported yet"
    since = _since(node) or s.first_seen(NAME, node_ref(node))
    left_s = s.left_s(since, s.settings.node_lost_tolerance_s)
    message = f"{name} is not Ready: {words}"
    if left_s > 0:
        step = f"wait: a node that just joined or restarted becomes Ready within minutes; if not: {_look(name, words)}"
        return Waiting(NAME, "NodeNotReady", message, node_ref(node), step, since, left_s)
    step = _look(name, words)
    if not s.is_byo:
        step += "; a node lost for longer than tolerated is replaced"
    return Failed(NAME, "NodeNotReady", message, node_ref(node), step, since)


def _look(name: str, words: str) -> str:
    """Where to look when a kubelet with these words does not become ready."""
    if any(word in words.lower() for word in ("network", "cni")):
        return f"see the network plugin's pods: kubectl get pods -A -o wide --field-selector spec.nodeName={name}"
    return f"kubectl describe node {name}"


def _is_lost(s: Snapshot, claim: NodeClaim) -> bool:
    return has_reached(claim, "Registered") and s.view.node_of(claim) is None


def _lost(s: Snapshot, claim: NodeClaim) -> Verdict:
    """The claim has registered and there is no Node object, although the claim was not deleted."""
    ref, since = missing_ref(claim), lost_since(s, claim)
    left_s = max(0.0, s.left_s(since, s.settings.node_lost_tolerance_s))
    is_told = s.passed_at(NAME) or s.remembered(NAME, ref)
    if not is_told and s.left_s(since, UNSEEN_S) > 0:
        # The claim's event was faster than the node's: no news for anybody.
        message = f"{claim.metadata.name} has registered; its node has not been seen yet"
        return replace(s.later(NAME, message), recheck_s=s.left_s(since, UNSEEN_S))
    message = f"node {ref.name} of NodeClaim {claim.metadata.name} is gone"
    step = "wait: it may come back (a stopped cluster was started); after the tolerated time it is replaced"
    return Waiting(NAME, "NodeLost", message, ref, step, since, left_s)


def _no_match(s: Snapshot) -> Failed:
    labels = ",".join(f"{key}={value}" for key, value in sorted(s.match_labels.items()))
    return Failed(
        NAME,
        "NodeNotReady",
        f"no node carries the labels {labels or '(none)'} of resource.labelSelector",
        s.ref,
        f"label a GPU node: kubectl label node NODE {labels.replace(',', ' ')}",
        s.first_seen(NAME, s.ref),
    )


def _taken(s: Snapshot) -> Waiting:
    """Another Workspace has the nodes: who runs first keeps them, else who is older gets them."""
    node, rival = sorted(s.stock.rivals.items())[0]
    both = len(s.nodes) + len(s.stock.rivals)
    message = f"{len(s.nodes)} of {s.needed} nodes are free: {len(s.stock.rivals)} of {both} that carry the labels"
    step = f"label more GPU nodes, delete {rival}, or give each Workspace nodes of its own with distinct labels"
    words = f"{message} are used by other Workspaces, {node} by {rival}"
    return Waiting(NAME, "NodesTaken", words, rival, step, s.first_seen(NAME, rival))


def _too_few(s: Snapshot) -> Failed:
    message = f"{len(s.nodes)} of {s.needed} nodes carry the labels of resource.labelSelector"
    step = "label more GPU nodes, or choose a smaller model or larger GPUs"
    return Failed(NAME, "NodeNotReady", message, s.ref, step, s.first_seen(NAME, s.ref))


def _since(node: Node) -> datetime | None:
    return transition_time(node.status.conditions, "Ready")


def _pressure(node: Node) -> str:
    under = [type_ for type_ in PRESSURES if (c := condition(node.status.conditions, type_)) and c.status == "True"]
    return f"; warning: the node is under {', '.join(under)}" if under else ""
