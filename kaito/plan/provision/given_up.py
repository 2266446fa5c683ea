"""Claims that vanish before they have a machine: how provisioners say that the cloud has none.

Karpenter, and gpu-provisioner with it, delete a NodeClaim for which the cloud has no capacity (or whose node class is
not ready), and say why in an Event alone. Whoever asks again at once makes a hot loop of it. So claims without a
machine are noted in the graph (`Remember`), and what became of those that are gone in `status.claimsGivenUp`: their
Events are read, the next claim is asked for after a time that grows, and once the launch timeout has passed since the
first, the instance type counts as refused.
Sources: kubernetes-sigs/karpenter pkg/controllers/nodeclaim/lifecycle/launch.go; Azure/gpu-provisioner pull request
185; kaito-project/kaito issue 2295 (the loop as users see it).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace

import msgspec
from pydantic.alias_generators import to_camel

from kaito.api.meta import Json, condition
from kaito.api.nodeclaim import NODE_CLAIM, NodeClaim
from kaito.clock import rfc3339
from kaito.plan.actions import Action, Delete, Read, Remember
from kaito.plan.memo import Last
from kaito.plan.snapshot import Snapshot, own_words, parse_time
from kaito.plan.stock import has_reached

BARE_KEY, EVENTS_KEY = "claims/bare", "claims/events"
STATUS_FIELD = "claimsGivenUp"
FIRST_S, MAX_S = 10.0, 300.0  # until the next claim is asked for: doubled each time
REASON = "NodeClaimGivenUp"  # where nobody says more


@dataclass(frozen=True, slots=True)
class Bare:
    """A claim without a machine, with what its own condition says of that."""

    name: str
    created: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """`times`: how often claims of this type were given up in a row; `since`: when the first of them was created.

    `uid`, `name` and `last` are of the latest that is gone.
    """

    instance_type: str = ""
    times: int = 0
    since: str = ""
    last: str = ""
    uid: str = ""
    name: str = ""
    reason: str = ""
    message: str = ""


NOTHING = GivenUp()


def given_up(s: Snapshot) -> GivenUp:
    """What is known of claims that went without a machine, as of this snapshot."""
    return _known.get(s, lambda: _with_words(s, _counted(s)))


_known: Last[GivenUp] = Last()


def given_up_status(s: Snapshot) -> Json | None:
    """`status.claimsGivenUp`; None where no claim was given up."""
    found = given_up(s)
    if not found.times:
        return None
    facts = {to_camel(each.name): getattr(found, each.name) for each in fields(found)}
    return {key: value for key, value in facts.items() if value}


def wait_s(s: Snapshot) -> float:
    """Seconds until claims are asked for again; 0 or less: now."""
    return _left_s(s, given_up(s))


def refused_in_s(s: Snapshot) -> float | None:
    """Seconds until the instance type counts as refused; None where no claim was given up."""
    since = parse_time(given_up(s).since)
    return s.left_s(since, s.settings.launch_timeout_s) if since else None


def is_held_back(s: Snapshot) -> bool:
    """Whether nothing may be asked for now, and nothing that was asked for has got a machine."""
    return wait_s(s) > 0 and not any(has_reached(claim, "Launched") for claim in s.stock.counted)


def note_claims(s: Snapshot, released: Iterable[Action]) -> Iterator[Remember]:
    """Notes the claims without a machine. One that we delete ourselves (`released`) is not given up by anybody.

    After the status in a plan: what has become of those that were noted before must be written first.
    """
    ours = {action.uid for action in released if isinstance(action, Delete)}
    bare = {uid: each for uid, each in _bare(s).items() if uid not in ours}
    if bare != _noted(s):
        yield Remember(s.ref, BARE_KEY, msgspec.json.encode(bare).decode())


def ask_why(s: Snapshot) -> Iterator[Read]:
    """The Events of the claim that was given up last."""
    found, answer = given_up(s), s.view.answer(s.ref, EVENTS_KEY)
    last = parse_time(found.last)
    if last and (answer is None or answer.at < last):
        target, why = NODE_CLAIM.ref("", found.name), "its node provisioner gave it up"
        yield Read(s.ref, EVENTS_KEY, "events", target, "", why, uid=found.uid)


def _noted(s: Snapshot) -> Mapping[str, Bare]:
    answer = s.view.answer(s.ref, BARE_KEY)
    return msgspec.json.decode(answer.text, type=dict[str, Bare]) if answer else {}


def _bare(s: Snapshot) -> Mapping[str, Bare]:
    """The claims that have no machine yet, by uid."""
    return {claim.metadata.uid: _one(claim) for claim in s.stock.counted if not has_reached(claim, "Launched")}


def _one(claim: NodeClaim) -> Bare:
    words = own_words(condition(claim.status.conditions, "Launched"))
    return Bare(claim.metadata.name, claim.metadata.creation_timestamp, *words)


def _written(s: Snapshot) -> GivenUp:
    """As the status has it; another instance type is another question."""
    kept = s.prior.get(STATUS_FIELD)
    if not isinstance(kept, dict) or kept.get("instanceType") != s.instance_type:
        return NOTHING
    try:
        return msgspec.convert(
            {each.name: kept[alias] for each in fields(GivenUp) if (alias := to_camel(each.name)) in kept}, GivenUp
        )
    except msgspec.ValidationError:
        return NOTHING


def _counted(s: Snapshot) -> GivenUp:
    found, live = _written(s), {claim.metadata.uid for claim in s.stock.counted}
    gone = [(each, uid) for uid, each in _noted(s).items() if uid not in live]
    if not gone:
        is_over = len(s.stock.counted) >= s.stock.needed and not _bare(s)
        return NOTHING if is_over else found
    each, uid = max(gone, key=lambda item: (item[0].created, item[1]))
    words = (each.reason, each.message) if each.reason else (found.reason, found.message)
    latest = replace(found, instance_type=s.instance_type, uid=uid, name=each.name, reason=words[0], message=words[1])
    if found.times and _left_s(s, found) > 0:  # one of those that were asked for together
        return latest
    since = found.since or min(item.created for item, _ in gone)
    return replace(latest, times=found.times + 1, since=since, last=rfc3339(s.now))


def _with_words(s: Snapshot, found: GivenUp) -> GivenUp:
    answer = s.view.answer(s.ref, EVENTS_KEY) if found.times else None
    reason, _, message = answer.text.partition("\n") if answer else ("", "", "")
    return replace(found, reason=reason, message=message) if reason else found


def _left_s(s: Snapshot, found: GivenUp) -> float:
    last = parse_time(found.last)
    return s.left_s(last, min(FIRST_S * 2 ** (found.times - 1), MAX_S)) if last else 0.0
