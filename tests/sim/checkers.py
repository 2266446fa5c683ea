"""The five laws that every simulated life must end in, each a function that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping

import anyio

from kaito.actors.replay import replay
from kaito.actors.roster import plan_root
from kaito.api.meta import ObjectRef
from kaito.plan.actions import Emit, Read
from kaito.settings import PlanSettings
from kaito.state.graph_view import GraphView
from kaito.state.invariants import check
from kaito.state.journal import ENTRIES_MAX
from kaito.state.kinds import metadata_of
from tests.sim.life import Life

AN_HOUR_S = 3_600.0
LEASES = ("coordination.k8s.io", "leases")


async def hold(life: Life, machines_max: Mapping[str, int]) -> None:
    """Fails with all that is wrong."""
    problems = [*convergence(life), *await quiet(life), *safety(life, machines_max), *truth(life), *bounded(life)]
    assert not problems, "\n".join(problems)


def convergence(life: Life) -> list[str]:
    """Every plan is empty."""
    operator = life.operator
    view, now = GraphView(operator.graph), life.now()
    plans = [plan_root(view, root, now, PlanSettings()) for root in sorted(operator.graph.roots())]
    return [
        f"{plan.root} still wants {type(action).__name__}: {action.reason}"
        for plan in plans
        for action in plan.actions
        if not isinstance(action, Emit | Read)
    ]


def safety(life: Life, machines_max: Mapping[str, int]) -> list[str]:
    """Never more machines than asked for, never a write by a replica that did not lead, one turn per root at a time."""
    problems = [
        f"{name} had {count} live NodeClaims at once, expected at most {machines_max.get(name, 0)}"
        for name, count in life.claims_max.items()
        if count > machines_max.get(name, 0)
    ]
    problems += [breach for replica in life.replicas for breach in replica.breaches]
    for replica in life.replicas:
        open_turns: set[ObjectRef] = set()
        for entry in replica.operator.journal.entries() if replica.operator else ():
            if entry.what == "planned" and entry.ref is not None:
                if entry.ref in open_turns:
                    problems.append(f"{entry.ref} was planned again during a turn")
                if entry.content:
                    open_turns.add(entry.ref)
            elif entry.what == "ended" and entry.ref is not None:
                open_turns.discard(entry.ref)
    return problems


def truth(life: Life) -> list[str]:
    """Every graph equals a rebuilt one and what the server has; the leader's journal decides the same again."""
    problems = []
    for replica in life.replicas:
        if replica.operator is None:
            continue
        graph = replica.operator.graph
        problems += [f"{replica.name}: {problem}" for problem in check(graph)]
        for kind, row in graph.rows.items():
            if row.by_name or row.label_selector or kind in graph.absent:
                continue
            have = {(ref.namespace, ref.name): metadata_of(obj) for ref, obj in graph.stores[kind].items()}
            live = life.server.store.objects.get((kind.group, kind.plural), {})
            want = {p: (o["metadata"]["uid"], o["metadata"]["resourceVersion"]) for p, o in live.items()}
            if have != want:
                problems.append(
                    f"{replica.name}: {kind.plural} differ from the server's: {set(have.items()) ^ set(want.items())}"
                )
    other = [decision for decision in replay(life.operator.dump()) if not decision.is_same]
    return problems + [f"entry {decision.seq}: {decision.root} is decided otherwise on replay" for decision in other]


async def quiet(life: Life) -> list[str]:
    """Nobody writes anything for an hour but the Lease."""
    store, before = life.server.store, life.server.store.version
    await anyio.sleep(AN_HOUR_S)
    written = [commit for commit in store.history if commit.version > before and commit.kind != LEASES]
    return [f"written after convergence: {commit.kind[1]} {'/'.join(commit.place)}" for commit in written]


def bounded(life: Life) -> list[str]:
    """Queues hold no more than the roots, expectations nothing, the journal its ring."""
    problems = []
    for replica in life.replicas:
        if (operator := replica.operator) is None:
            continue
        roots = len(operator.graph.roots())
        sizes = {
            "keys in the queue": (len(operator.runner.queue), roots),
            "keys in flight": (operator.runner.queue.in_flight, 0),
            "expectations": (len(operator.expectations), 0),
            "entries in the journal": (len(operator.journal), ENTRIES_MAX),
            "answers": (len(operator.graph.answers), roots * 8),
        }
        problems += [f"{replica.name}: {n} {what}, at most {limit}" for what, (n, limit) in sizes.items() if n > limit]
    return problems
