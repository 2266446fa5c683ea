"""Nodes beside the claims: those that the user labelled as the root's own, and what claims became."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kaito.api.core import Node
from kaito.api.names import LABEL_NODE_POOL
from kaito.api.nodeclaim import NodeClaim
from kaito.state.view import ClusterView


def brought_nodes(
    view: ClusterView, nodes: Sequence[Node], claims: Sequence[NodeClaim], pins: Mapping[str, str]
) -> tuple[Node, ...]:
    """Of the root's nodes those that carry its labels and that no provisioner made: they count, and pods go there."""
    claimed = {node.metadata.name for claim in claims if (node := view.node_of(claim))}
    return tuple(
        node
        for node in nodes
        if node.metadata.name not in claimed
        and node.metadata.label(LABEL_NODE_POOL) is None
        and all(node.metadata.label(key) == value for key, value in pins.items())
    )


def counted_nodes(
    view: ClusterView, nodes: Sequence[Node], counted: Sequence[NodeClaim], brought: Sequence[Node]
) -> tuple[Node, ...]:
    """Of the root's nodes those that stand behind a counted claim or were brought, in name order."""
    names = {node.metadata.name for claim in counted if (node := view.node_of(claim))}
    names |= {node.metadata.name for node in brought}
    return tuple(node for node in nodes if node.metadata.name in names)
