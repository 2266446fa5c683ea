"""replay: a journal through the planner of today. Same input, same output: what differs from then is our change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import msgspec

from kaito.actors.roster import plan_root
from kaito.api.meta import Json, ObjectRef
from kaito.plan.wire import actions_json
from kaito.settings import PlanSettings
from kaito.state.graph import StateGraph
from kaito.state.graph_view import GraphView
from kaito.state.journal_lines import NoJournal, read_journal, replay_entry
from kaito.state.kinds import KINDS


@dataclass(frozen=True, slots=True)
class Decision:
    """`seq` is the entry's in the journal; `then` what was planned at the time, `now` what the planner says today."""

    seq: int
    at: datetime
    root: ObjectRef
    now: list[Json]
    then: list[Json]

    @property
    def is_same(self) -> bool:
        return self.now == self.then


def replay(lines: Iterable[bytes]) -> Iterator[Decision]:
    """The decisions of the journal, made again. Raises NoJournal."""
    written, entries = read_journal(lines)
    try:
        settings = msgspec.convert(written, PlanSettings)
    except msgspec.ValidationError as error:
        raise NoJournal(f"line 1: settings: {error}") from error
    graph = StateGraph(KINDS, shares_nodes=settings.node_provisioner == "byo")
    view = GraphView(graph)
    for entry in entries:
        if entry.what != "planned" or entry.ref is None:
            replay_entry(graph, entry)
            continue
        plan = plan_root(view, entry.ref, entry.at, settings)
        # Through JSON and back, as what was written then: tuples and lists are the same there.
        now = msgspec.json.decode(msgspec.json.encode(actions_json(plan.actions)))
        yield Decision(entry.seq, entry.at, entry.ref, now, entry.content)
