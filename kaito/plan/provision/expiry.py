"""Claims that have to go: never launched, never registered, their node lost for too long, or one too many.

An expired claim is deleted; while it terminates, its replacement is created. A claim that nobody has ever acted on does
not expire: without a provisioner another claim would change nothing, and the gate says what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kaito.api.core import NODE
from kaito.api.meta import ObjectRef, condition
from kaito.api.names import LABEL_INSTANCE_TYPE, WORKSPACE_UID_ANNOTATION
from kaito.api.nodeclaim import NodeClaim
from kaito.plan.choice import Refusal
from kaito.plan.memo import Last
from kaito.plan.provision.given_up import REASON, given_up, refused_in_s
from kaito.plan.snapshot import Snapshot, is_node_ready, node_ref, transition_time
from kaito.plan.stock import LIFECYCLE, has_reached

NODE_READY_GATE = "NodeReady"  # its blockers remember since when a node is lost


@dataclass(frozen=True, slots=True)
class Expiry:
    """A claim, and the seconds until it is replaced: 0 or less means now."""

    claim: NodeClaim
    left_s: float
    reason: str
    is_refusal: bool = False  # the cloud gave no machine


def expiries(s: Snapshot) -> Sequence[Expiry]:
    """Every counted claim that is on its way to being replaced unless something changes."""
    return _known.get(
        s, lambda: tuple(expiry for claim in s.stock.counted if (expiry := _expiry(s, claim)) is not None)
    )


_known: Last[tuple[Expiry, ...]] = Last()


def _expiry(s: Snapshot, claim: NodeClaim) -> Expiry | None:
    created = s.created_at(claim)
    asked_for = requested_type(claim)
    if s.workload is None and _is_made_for(s, claim) and asked_for not in ("", s.instance_type):
        return Expiry(claim, 0.0, f"it asks for {asked_for}, wanted is {s.instance_type}")
    if not claim.status.conditions and not claim.status.node_name:
        return None
    if not has_reached(claim, "Launched"):
        timeout_s = s.settings.launch_timeout_s
        return Expiry(claim, s.left_s(created, timeout_s), f"it did not launch within {timeout_s:g} s", is_refusal=True)
    if not has_reached(claim, "Registered"):
        timeout_s = s.settings.registration_timeout_s
        return Expiry(claim, s.left_s(created, timeout_s), f"its machine did not join within {timeout_s:g} s")
    return _lost(s, claim)


def _lost(s: Snapshot, claim: NodeClaim) -> Expiry | None:
    """A node that was never ready gets the time of a registration; one that was ready and is lost, the tolerance."""
    tolerance_s = s.settings.node_lost_tolerance_s
    node = s.view.node_of(claim)
    if node is None:
        left_s = s.left_s(lost_since(s, claim), tolerance_s)
        return Expiry(claim, left_s, f"its node is gone for {tolerance_s:g} s")
    if is_node_ready(node):
        return None
    since = transition_time(node.status.conditions, "Ready") or s.first_seen(NODE_READY_GATE, node_ref(node))
    if not has_reached(claim, "Initialized"):
        tolerance_s = max(tolerance_s, s.settings.registration_timeout_s)
    return Expiry(claim, s.left_s(since, tolerance_s), f"its node is not Ready for {tolerance_s:g} s")


def lost_since(s: Snapshot, claim: NodeClaim) -> datetime:
    """Since when the Node of a registered claim is gone: as remembered, else (never seen) since it registered."""
    registered = transition_time(claim.status.conditions, "Registered")
    never_seen = None if s.passed_at(NODE_READY_GATE) else registered
    return s.remembered(NODE_READY_GATE, missing_ref(claim)) or never_seen or s.now


def missing_ref(claim: NodeClaim) -> ObjectRef:
    """The node that a claim became and that is not there."""
    return NODE.ref("", claim.status.node_name or claim.metadata.name)


def refusal(s: Snapshot) -> Refusal | None:
    """The cloud's refusal, in its own words, of the first claim that we or its provisioner gave up for it."""
    if s.workload is not None:
        return None
    refused = (expiry.claim for expiry in expired(s) if expiry.is_refusal)
    claim = next(refused, None)
    if claim is None:
        vanished, left_s = given_up(s), refused_in_s(s)
        is_refused = left_s is not None and left_s <= 0
        return Refusal(s.instance_type, vanished.reason or REASON, vanished.message) if is_refused else None
    found = condition(claim.status.conditions, "Launched")
    words = (found.reason, found.message) if found else ("LaunchTimeout", "")
    return Refusal(requested_type(claim) or s.instance_type, words[0] or "LaunchTimeout", words[1])


def requested_type(claim: NodeClaim) -> str:
    """The instance type that the claim asks for; empty where it leaves that open."""
    for requirement in claim.spec.get("requirements") or ():
        if requirement.get("key") == LABEL_INSTANCE_TYPE and requirement.get("operator") == "In":
            return str(next(iter(requirement.get("values") or ()), ""))
    return ""


def expired(s: Snapshot) -> tuple[Expiry, ...]:
    """Those of them whose time is up."""
    return tuple(expiry for expiry in expiries(s) if expiry.left_s <= 0)


def surplus(s: Snapshot) -> tuple[NodeClaim, ...]:
    """Claims beyond the target, least advanced first: what a leader with an old view can leave behind.

    Only claims that we made for this very Workspace, and none whose node runs a ready pod of ours: better one machine
    too many than a server that stops answering.
    """
    going = {expiry.claim.metadata.name for expiry in expired(s)}
    staying = [claim for claim in s.stock.counted if claim.metadata.name not in going]
    extra = len(staying) - s.target if s.target else 0
    if extra <= 0:
        return ()
    idle = [claim for claim in staying if _is_made_for(s, claim) and not _serves(s, claim)]
    return tuple(sorted(idle, key=_progress)[:extra])


def _is_made_for(s: Snapshot, claim: NodeClaim) -> bool:
    return claim.metadata.annotation(WORKSPACE_UID_ANNOTATION) == s.uid


def _serves(s: Snapshot, claim: NodeClaim) -> bool:
    node = s.view.node_of(claim)
    return node is not None and s.hosts_ready_pod(node)


def _progress(claim: NodeClaim) -> tuple[int, str]:
    """How far the claim has come; the same order in every view, so that no two plans choose different victims."""
    return (sum(has_reached(claim, step) for step in LIFECYCLE), claim.metadata.name)
