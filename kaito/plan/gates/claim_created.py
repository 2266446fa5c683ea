"""Gate: as many NodeClaims exist as the Workspace needs machines."""

from __future__ import annotations

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION
from kaito.api.nodeclaim import NODE_CLAIM
from kaito.plan.snapshot import Snapshot, claim_ref, latest, parse_time
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting

NAME = "ClaimCreated"
CONDITION = "NodeClaimReady"


def judge(s: Snapshot) -> Verdict | None:
    if s.is_byo:
        return None
    if s.target is None:
        return s.later(NAME, "no NodeClaim yet: the node count is not known")
    ledger = s.ledger
    if len(ledger.counted) >= ledger.needed:
        since = latest([parse_time(claim.metadata.creation_timestamp) for claim in ledger.counted])
        return Ready(NAME, _counted(s), claim_ref(ledger.counted[0]) if len(ledger.counted) == 1 else None, since)
    if s.view.is_absent(NODE_CLAIM):
        culprit = CUSTOM_RESOURCE_DEFINITION.ref("", f"{NODE_CLAIM.plural}.{NODE_CLAIM.group}")
        return Failed(
            NAME,
            "NodeClaimKindAbsent",
            f"the cluster has no {NODE_CLAIM.api_version} NodeClaim kind, so no machine can be asked for",
            culprit,
            "install a node provisioner (gpu-provisioner or Karpenter), or run the operator with node provisioner byo",
            s.first_seen(NAME, culprit),
        )
    if ledger.blocking:
        return _blocked(s)
    message = f"{len(ledger.counted)} of {ledger.needed} NodeClaims exist"
    return Waiting(
        NAME, "NodeClaimNotReady", message, s.ref, "none: the operator is creating the rest", s.first_seen(NAME, s.ref)
    )


def _blocked(s: Snapshot) -> Waiting:
    claim = s.ledger.blocking[0]
    return Waiting(
        NAME,
        "FormerClaimTerminating",
        f"NodeClaim {claim.metadata.name} of a former Workspace of this name is still terminating",
        claim_ref(claim),
        f"wait for its machine to be released; if that hangs: kubectl describe nodeclaim {claim.metadata.name}",
        parse_time(claim.metadata.deletion_timestamp),
    )


def _counted(s: Snapshot) -> str:
    brought = (s.target or 0) - s.ledger.needed
    words = f"{len(s.ledger.counted)} of {s.ledger.needed} NodeClaims exist"
    return f"{words}, {brought} nodes are brought by the user" if brought > 0 else words
