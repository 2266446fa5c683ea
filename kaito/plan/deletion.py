"""A Workspace that is being deleted: its NodeClaims go first, then our finalizer. It ends, or names what it waits for.

Validation has no say here, an absent NodeClaim kind means that nothing is left to release, and a kind that cannot be
read means that we do not know: the finalizer stays, because a leaked GPU machine costs more than a patient user.
"""

from __future__ import annotations

from datetime import datetime

from kaito.api.meta import Json
from kaito.api.names import WORKSPACE_FINALIZER
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.plan.actions import Action, Delete, PatchRoot, PatchStatus, Plan
from kaito.plan.claims import ClaimRoot, to_release
from kaito.plan.conditions import WantedCondition, merge_conditions
from kaito.plan.explain import blockers, headline
from kaito.plan.roots import WORKSPACE, RootMeta
from kaito.plan.snapshot import claim_ref, parse_time
from kaito.plan.status import DELETING, status_patch
from kaito.plan.verdict import Verdict, Waiting
from kaito.state.view import ClusterView

GATE = "Released"


def plan_deletion(view: ClusterView, root: RootMeta, now: datetime) -> Plan:
    """Deletes the claims, says what is still there, and lets the Workspace go when nothing is."""
    if WORKSPACE_FINALIZER not in root.finalizers:
        return Plan(root.ref)
    if not view.is_synced(NODE_CLAIM):
        message = "NodeClaims cannot be listed, so it is not known whether machines are left"
        step = "let the operator's service account list nodeclaims.karpenter.sh"
        waits: tuple[Verdict, ...] = (Waiting(GATE, "NodeClaimsUnknown", message, root.ref, step),)
        return Plan(root.ref, _status(root, waits, now), waits)
    claims = to_release(view, ClaimRoot(root.ref, root.uid, root.created))
    if not claims:
        patch = {"metadata": {"finalizers": [name for name in root.finalizers if name != WORKSPACE_FINALIZER]}}
        done = PatchRoot(WORKSPACE, root.ref, patch, root.uid, root.resource_version, "its machines are released")
        return Plan(root.ref, (done,))
    deletes = tuple(
        Delete(NODE_CLAIM, claim_ref(claim), claim.metadata.uid, "its Workspace is being deleted")
        for claim in claims
        if not claim.metadata.deletion_timestamp
    )
    verdicts = tuple(_wait(claim, root) for claim in claims)
    return Plan(root.ref, _status(root, verdicts, now) + deletes, verdicts)


def _wait(claim: NodeClaim, root: RootMeta) -> Waiting:
    name = claim.metadata.name
    holders = ", ".join(claim.metadata.finalizers)
    message = f"NodeClaim {name} has to go first" + (f"; it is held by {holders}" if holders else "")
    return Waiting(
        GATE,
        "NodeClaimTerminating",
        message,
        claim_ref(claim),
        f"the node provisioner releases the machine; if that hangs: kubectl describe nodeclaim {name}",
        parse_time(claim.metadata.deletion_timestamp) or parse_time(root.deleting_since),
    )


def _status(root: RootMeta, verdicts: tuple[Verdict, ...], now: datetime) -> tuple[Action, ...]:
    """Only WorkspaceDeleting and the blockers change: the rest stays as it was when the deletion began."""
    waits = [verdict for verdict in verdicts if isinstance(verdict, Waiting)]
    wanted = WantedCondition(DELETING, True, "workspaceDeleted", headline(waits[0]))
    status: Json = root.status | {
        "blockers": blockers(verdicts, root.status.get("blockers") or (), now),
        "conditions": merge_conditions(
            root.status.get("conditions") or (), [wanted], generation=root.generation, now=now
        ),
    }
    patch = status_patch(root.status, status)
    if not patch:
        return ()
    return (PatchStatus(WORKSPACE, root.ref, patch, root.uid, root.resource_version, "what the deletion waits for"),)
