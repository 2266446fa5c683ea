"""karpenter.sh/v1 NodeClaim: the request for one machine, answered by a node provisioner."""

from __future__ import annotations

import msgspec

from kaito.api.meta import Condition, ResourceKind, Whole

NODE_CLAIM = ResourceKind("karpenter.sh", "v1", "NodeClaim", "nodeclaims", False)


class NodeClaimStatus(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """`conditions` carry Launched, Registered, Initialized, Ready, in the order in which they come true."""

    node_name: str = ""
    provider_id: str = msgspec.field(name="providerID", default="")
    image_id: str = msgspec.field(name="imageID", default="")
    conditions: tuple[Condition, ...] = ()
    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}


class NodeClaim(Whole, frozen=True, gc=False):
    status: NodeClaimStatus = NodeClaimStatus()
