"""Gate: the provisioner calls every node initialised. Where it does not, the gates of the node itself say why."""

from __future__ import annotations

from kaito.api.meta import condition
from kaito.api.nodeclaim import NodeClaim
from kaito.plan.snapshot import Snapshot, claim_ref, own_words, transition_time
from kaito.plan.stock import has_reached
from kaito.plan.verdict import Ready, Verdict, Waiting, at_least

NAME = "ClaimInitialized"
CONDITION = "NodeClaimReady"


def judge(s: Snapshot) -> Verdict | None:
    if not s.awaits_machines:
        return None
    verdicts = [_judge_claim(s, claim) for claim in s.stock.counted]
    return at_least(NAME, max(1, s.stock.needed), verdicts, what="NodeClaims initialized", root=s.ref)


def _judge_claim(s: Snapshot, claim: NodeClaim) -> Verdict:
    name = claim.metadata.name
    if has_reached(claim, "Initialized"):
        since = transition_time(claim.status.conditions, "Initialized")
        return Ready(NAME, f"{name} is initialized", claim_ref(claim), since)
    if not has_reached(claim, "Registered"):
        return s.later(NAME, f"{name} has no node yet")
    reason, words = own_words(condition(claim.status.conditions, "Initialized"))
    return Waiting(
        NAME,
        reason or "NodeNotInitialized",
        words or f"the node provisioner has not called the node of {name} initialized",
        claim_ref(claim),
        f"kubectl describe nodeclaim {name}",
        transition_time(claim.status.conditions, "Registered"),
        is_symptom=True,
    )
