"""What every root's plan says of itself: its status, the one Event that is worth it, and when to look again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from kaito.api.core import definition_of
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.plan.actions import Action, Emit, PatchRoot, PatchStatus
from kaito.plan.conditions import status_patch
from kaito.plan.explain import causes, headline
from kaito.plan.progress import is_progress
from kaito.plan.provision.expiry import expiries
from kaito.plan.roots import RootMeta
from kaito.plan.snapshot import Snapshot
from kaito.plan.verdict import EARLIER_STAGE, Failed, Ready, Verdict, Waiting
from kaito.state.view import ClusterView

GUARD_REASON = "its machines must be released at the end"
# Closed only for the operator's own next step, a matter of milliseconds: no news for the user.
OWN_WORK = frozenset({"NodeClaimNotReady", EARLIER_STAGE, "HubNotAsked"})


def report(
    root: RootMeta, status: Json, verdicts: Sequence[Verdict], *, success: Mapping[str, str], may_wait: bool = True
) -> Iterator[Action]:
    """Writes what has changed of the status, and tells its deepest cause. `success`: states worth an Event.

    `may_wait`: nothing else in the plan needs it to be written first.
    """
    patch = status_patch(root.status, status)
    if not patch:
        return
    found = causes(verdicts)
    is_paced = may_wait and is_progress(root.status, status, patch, found)
    why = "what was observed has changed"
    yield PatchStatus(root.kind, root.ref, patch, root.uid, root.resource_version, why, is_paced)
    if found and _is_news(root.status, found[0]):
        kind: Literal["Normal", "Warning"] = "Warning" if isinstance(found[0], Failed) else "Normal"
        yield Emit(root.ref, root.uid, kind, found[0].reason, headline(found[0]), is_paced)
    if (state := str(status.get("state"))) in success and state != root.status.get("state"):
        yield Emit(root.ref, root.uid, "Normal", f"{root.kind.kind}Succeeded", success[state])


def _is_news(prior: Json, cause: Waiting | Failed) -> bool:
    """Whether the deepest cause is another one than the status told before."""
    if cause.reason in OWN_WORK:
        return False
    told: Json = next(iter(prior.get("blockers") or ()), {})
    now = (cause.gate, cause.reason, str(cause.culprit))
    return now != (told.get("gate"), told.get("reason"), told.get("culprit"))


def recheck_s(s: Snapshot, verdicts: Sequence[Verdict], *others: float | None) -> float | None:
    """Seconds until time alone changes a verdict, expires a claim, or one of the others has passed."""
    waits = [verdict.recheck_s for verdict in verdicts if not isinstance(verdict, Ready)]
    waits += [*others, *(expiry.left_s for expiry in expiries(s))]
    ahead = [wait for wait in waits if wait is not None and wait > 0]
    return min(ahead) if ahead else None


def unsynced(view: ClusterView, ref: ObjectRef, kinds: Sequence[ResourceKind]) -> Waiting | None:
    """The kinds that a plan reads and that have not been listed; None when all have."""
    missing = [kind.kind for kind in kinds if not view.is_synced(kind)]
    if not missing:
        return None
    message = f"{', '.join(missing)}: not listed yet, or the operator may not list them"
    return Waiting("Synced", "KindNotSynced", message, ref, "see the operator's readiness and its ClusterRole")


def leaving(view: ClusterView, ref: ObjectRef, kinds: Sequence[ResourceKind]) -> Waiting | None:
    """The kinds that are being uninstalled under a root that is not deleted yet: nothing may be begun any more."""
    found = [kind for kind in kinds if view.is_leaving(kind)]
    if not found:
        return None
    message = f"the CustomResourceDefinition of {', '.join(kind.kind for kind in found)} is being deleted"
    return Waiting(
        "Synced", "Uninstalling", message, definition_of(found[0]), "nothing is begun; the uninstall goes on"
    )


def guard(root: RootMeta, annotations: Json | None = None) -> PatchRoot:
    """Our finalizer: before anything is created that it guards."""
    metadata: Json = {"finalizers": [*root.finalizers, root.finalizer]}
    if annotations:
        metadata["annotations"] = annotations
    return PatchRoot(root.kind, root.ref, {"metadata": metadata}, root.uid, root.resource_version, GUARD_REASON)


def misfit(root: RootMeta, errors: Sequence[str]) -> Failed:
    """The verdict on an object that does not fit its model."""
    kind, name, namespace = root.kind.kind, root.ref.name, root.ref.namespace
    message = "; ".join(errors) or "it does not fit the schema"
    step = f"correct the named fields: kubectl edit {kind.lower()} {name} -n {namespace}"
    return Failed("NodesPlanned", f"Invalid{kind}", message, root.ref, step)
