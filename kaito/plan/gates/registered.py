"""Gate: every launched machine joined the cluster as a Node."""

from __future__ import annotations

from kaito.api.meta import condition
from kaito.api.nodeclaim import NodeClaim
from kaito.plan.snapshot import Snapshot, claim_ref, own_words, transition_time
from kaito.plan.stock import has_reached
from kaito.plan.verdict import Ready, Verdict, Waiting, at_least

NAME = "NodeRegistered"
CONDITION = "NodeClaimReady"


def judge(s: Snapshot) -> Verdict | None:
    if not s.awaits_machines:
        return None
    verdicts = [_judge_claim(s, claim) for claim in s.stock.counted]
    return at_least(NAME, max(1, s.stock.needed), verdicts, what="nodes registered", root=s.ref)


def _judge_claim(s: Snapshot, claim: NodeClaim) -> Verdict:
    name = claim.metadata.name
    if has_reached(claim, "Registered"):
        since = transition_time(claim.status.conditions, "Registered")
        return Ready(NAME, f"{name} is node {claim.status.node_name or '(unnamed)'}", claim_ref(claim), since)
    if not has_reached(claim, "Launched"):
        return s.later(NAME, f"{name} has no machine yet")
    created = s.created_at(claim)
    reason, words = own_words(condition(claim.status.conditions, "Registered"))
    machine = f" ({claim.status.provider_id})" if claim.status.provider_id else ""
    message = f"the machine of {name}{machine} was launched and has not joined the cluster as a node"
    return Waiting(
        NAME,
        reason or "NodeNotRegistered",
        f"{message}: {words}" if words else message,
        claim_ref(claim),
        "wait for it to boot (a machine that does not join in time is replaced); if none ever joins: see its boot log "
        "in the cloud's console, and whether it may reach the API server",
        transition_time(claim.status.conditions, "Launched") or created,
        max(0.0, s.left_s(created, s.settings.registration_timeout_s)),
    )
