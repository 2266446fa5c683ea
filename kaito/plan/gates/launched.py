"""Gate: the provisioner got a machine for every NodeClaim. This is where quota, SKU and capacity fail."""

from __future__ import annotations

from kaito.api.meta import condition
from kaito.api.nodeclaim import NodeClaim
from kaito.api.nodepool import NODE_POOL
from kaito.plan.provision.given_up import REASON, given_up, refused_in_s, wait_s
from kaito.plan.snapshot import Snapshot, claim_ref, own_words, parse_time, transition_time
from kaito.plan.stock import has_reached
from kaito.plan.verdict import Failed, Ready, Verdict, Waiting, at_least

NAME = "ClaimLaunched"
CONDITION = "NodeClaimReady"

# Words of the clouds' own errors → what a user can do about them.
REMEDIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("quota",), "ask the cloud provider for more quota of this VM family, or choose another instanceType"),
    (
        ("capacity", "zonalallocation", "allocationfailed", "skunotavailable", "sku not available"),
        "the region has no such machine now: wait, or choose another instanceType or region",
    ),
    (("authoriz", "forbidden", "credential", "permission"), "give the node provisioner's identity the rights it lacks"),
    (("nodeclass",), "create or repair the node class that the NodeClaim names"),
)


def judge(s: Snapshot) -> Verdict | None:
    if not s.awaits_machines:
        return None
    needed, verdicts = max(1, s.stock.needed), [_judge_claim(s, claim) for claim in s.stock.counted]
    if refused := _given_up(s):  # in the same words while the next claim is waited for
        verdicts = [refused if isinstance(verdict, Waiting) else verdict for verdict in verdicts]
        verdicts += [refused] * (needed - len(verdicts))
    return at_least(NAME, needed, verdicts, what="NodeClaims launched", root=s.ref)


def _judge_claim(s: Snapshot, claim: NodeClaim) -> Verdict:
    if has_reached(claim, "Launched"):
        since = transition_time(claim.status.conditions, "Launched")
        return Ready(NAME, f"{claim.metadata.name} got a machine", claim_ref(claim), since)
    created = s.created_at(claim)
    launched = condition(claim.status.conditions, "Launched")
    if not claim.status.conditions:
        return _unattended(s, claim)
    deadline_s = max(0.0, s.left_s(created, s.settings.launch_timeout_s))
    reason, words = own_words(launched)
    if launched is None or not reason:
        message = f"the node provisioner has taken up {claim.metadata.name}; the cloud has not given a machine yet"
        step = "wait for the cloud; a claim that does not launch in time is replaced"
        return Waiting(NAME, "MachineNotLaunched", message, claim_ref(claim), step, created, deadline_s)
    since = parse_time(launched.last_transition_time) or created
    return Failed(NAME, reason, words, claim_ref(claim), _remedy(f"{reason} {words}"), since, deadline_s)


def _given_up(s: Snapshot) -> Failed | None:
    """The provisioner deletes the claims before they have a machine: in the words of its Events."""
    found = given_up(s)
    if not found.times:
        return None
    times = "once" if found.times == 1 else f"{found.times} times"
    message = f"the node provisioner gave up NodeClaims without a machine, {times} so far, the last {found.name}"
    step = f"kubectl get events -A --field-selector involvedObject.name={found.name}"
    if words := found.message or found.reason:
        message, step = f"{message}: {words}", _remedy(f"{found.reason} {words}")
    ahead = [left_s for left_s in (wait_s(s), refused_in_s(s)) if left_s is not None and left_s > 0]
    pool = s.stock.pool
    culprit = NODE_POOL.ref("", pool.metadata.name) if pool else s.ref
    reason, since = found.reason or REASON, parse_time(found.since)
    return Failed(NAME, reason, message, culprit, step, since, min(ahead) if ahead else None)


def _unattended(s: Snapshot, claim: NodeClaim) -> Verdict:
    created = s.created_at(claim)
    left_s = s.left_s(created, s.settings.unattended_claim_s)
    if left_s > 0:
        message = "the NodeClaim waits for a node provisioner to pick it up"
        step = "none yet: a provisioner answers within seconds"
        return Waiting(NAME, "MachineNotLaunched", message, claim_ref(claim), step, created, left_s)
    return Failed(
        NAME,
        "NoProvisioner",
        "nobody has acted on the NodeClaim: its status is empty",
        claim_ref(claim),
        "check that a node provisioner runs: kubectl get pods -A | grep -e gpu-provisioner -e karpenter",
        created,
    )


def _remedy(words: str) -> str:
    lower = words.lower()
    for needles, step in REMEDIES:
        if any(needle in lower for needle in needles):
            return step
    return "see the node provisioner's log; the claim is replaced when its launch times out"
