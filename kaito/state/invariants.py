"""Every law of the graph in one place: for tests, the simulator and a debug mode."""

from __future__ import annotations

from kaito.api.meta import ResourceVersion
from kaito.state.events import Init, InitApply, InitDone
from kaito.state.graph import StateGraph


def check(graph: StateGraph) -> list[str]:
    """What is wrong with the graph; empty when all laws hold."""
    rebuilt = rebuild(graph)
    problems = [
        f"{name} edges differ from a rebuilt graph: {sorted(map(str, set(have) ^ set(want)))[:5]}"
        for name, have, want in (
            ("pointing", graph.pointing, rebuilt.pointing),
            ("known", graph.known, rebuilt.known),
        )
        if {key: set(refs) for key, refs in have.items()} != {key: set(refs) for key, refs in want.items()}
    ]
    problems += [f"an answer to {root}, which is gone" for root, _ in graph.answers if root not in set(graph.roots())]
    problems += [f"{kind.plural} is absent and has objects" for kind in graph.absent if len(graph.stores[kind])]
    return problems


def rebuild(graph: StateGraph) -> StateGraph:
    """A graph that was listed afresh from what this one holds."""
    fresh = StateGraph(graph.rows.values())
    for kind, store in graph.stores.items():
        fresh.apply(kind, Init())
        for ref, obj in store.items():
            fresh.apply(kind, InitApply(ref, obj))
        fresh.apply(kind, InitDone(ResourceVersion("")))
    return fresh
