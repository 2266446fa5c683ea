"""karpenter.sh/v1 NodePool: machines of one shape, kept at `spec.replicas` by Karpenter (its StaticCapacity gate)."""

from __future__ import annotations

import msgspec

from kaito.api.meta import Condition, ResourceKind, Whole

NODE_POOL = ResourceKind("karpenter.sh", "v1", "NodePool", "nodepools", False)


class NodePoolStatus(msgspec.Struct, frozen=True, gc=False):
    """`conditions` carry ValidationSucceeded, NodeClassReady and Ready."""

    conditions: tuple[Condition, ...] = ()


class NodePool(Whole, frozen=True, gc=False):
    """`spec` is kept whole: the planner compares it with what it wants."""

    status: NodePoolStatus = NodePoolStatus()
