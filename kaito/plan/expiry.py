"""Claims whose time is up: never launched, never registered, or their node is lost for longer than is tolerated.

An expired claim is deleted; while it terminates, its replacement is created (`plan.claims`). A claim that nobody has
ever acted on does not expire: without a provisioner another claim would change nothing, and the gate says what is
missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaito.api.nodeclaim import NodeClaim
from kaito.plan.claims import has_reached
from kaito.plan.gates import node_ready
from kaito.plan.snapshot import Snapshot, is_node_ready, node_ref, transition_time


@dataclass(frozen=True, slots=True)
class Expiry:
    """A claim, and the seconds until it is replaced: 0 or less means now."""

    claim: NodeClaim
    left_s: float
    reason: str


def expiries(s: Snapshot) -> Sequence[Expiry]:
    """Every counted claim that is on its way to being replaced unless something changes."""
    found = (_expiry(s, claim) for claim in s.ledger.counted)
    return tuple(expiry for expiry in found if expiry is not None)


def _expiry(s: Snapshot, claim: NodeClaim) -> Expiry | None:
    created = s.created_at(claim)
    if not claim.status.conditions and not claim.status.node_name:
        return None
    if not has_reached(claim, "Launched"):
        timeout_s = s.settings.launch_timeout_s
        return Expiry(claim, s.left_s(created, timeout_s), f"it did not launch within {timeout_s:g} s")
    if not has_reached(claim, "Registered"):
        timeout_s = s.settings.registration_timeout_s
        return Expiry(claim, s.left_s(created, timeout_s), f"its machine did not join within {timeout_s:g} s")
    return _lost(s, claim)


def _lost(s: Snapshot, claim: NodeClaim) -> Expiry | None:
    """A node that was never ready gets the time of a registration; one that was ready and is lost, the tolerance."""
    tolerance_s = s.settings.node_lost_tolerance_s
    node = s.view.node_of(claim)
    if node is None:
        left_s = s.left_s(node_ready.lost_since(s, claim), tolerance_s)
        return Expiry(claim, left_s, f"its node is gone for {tolerance_s:g} s")
    if is_node_ready(node):
        return None
    since = transition_time(node.status.conditions, "Ready") or s.first_seen(node_ready.NAME, node_ref(node))
    if not has_reached(claim, "Initialized"):
        tolerance_s = max(tolerance_s, s.settings.registration_timeout_s)
    return Expiry(claim, s.left_s(since, tolerance_s), f"its node is not Ready for {tolerance_s:g} s")
