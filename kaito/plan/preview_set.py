"""preview_set: everything that an InferenceSet would need in the end, its replicas' objects with it.

The planner itself is asked, again and again: what it would do to Workspaces is done to the caller's own copy of the
world, and every replica is taken to answer afterwards, until there is nothing left to do.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from kaito.api.inferenceset import INFERENCE_SET
from kaito.api.meta import Json, ObjectRef
from kaito.api.names import FINALIZERS
from kaito.api.workspace import WORKSPACE, Workspace, parse_workspace
from kaito.clock import rfc3339
from kaito.plan.actions import Create, Delete, PatchRoot
from kaito.plan.auto_upgrade import REASON as UPGRADE_REASON
from kaito.plan.diff import Change
from kaito.plan.inferenceset import plan_inference_set
from kaito.plan.merge import merged
from kaito.plan.preview import Preview, Step, leaving, preview
from kaito.plan.replicas import READY_CONDITION, replicas
from kaito.plan.roots import root_meta
from kaito.plan.verdict import Failed
from kaito.settings import PlanSettings
from kaito.state.events import Apply
from kaito.state.events import Delete as DeleteEvent
from kaito.state.graph import StateGraph
from kaito.state.graph_view import GraphView
from kaito.state.journal_lines import object_json
from kaito.state.view import InvalidObject

ROUNDS_MAX = 256  # a change of the template goes one replica at a time


def preview_set(graph: StateGraph, ref: ObjectRef, now: datetime, settings: PlanSettings) -> Preview:
    """As `preview`, for an InferenceSet. It changes the graph, which must be the caller's own."""
    view = GraphView(graph)
    found = view.root(ref)
    if found is None:
        raise KeyError(str(ref))
    root = root_meta(found, INFERENCE_SET)
    if root.deleting_since:
        return leaving(root, plan_inference_set(view, ref, now, settings))
    if isinstance(found, InvalidObject):
        return Preview(ref, None, errors=found.errors)
    steps: list[Step] = []
    done: list[Create | PatchRoot | Delete] = []
    limit: Failed | None = None
    for _ in range(ROUNDS_MAX):
        plan = plan_inference_set(view, ref, now, settings)
        limit = next((verdict for verdict in plan.verdicts if isinstance(verdict, Failed)), None)
        moves = [move for move in plan.actions if isinstance(move, Create | PatchRoot | Delete) and _is_replica(move)]
        if not moves or all(move in done for move in moves):
            break
        for move in moves:
            done.append(move)
            steps.append(_step(graph, move))
            _carry_out(graph, move, now)
        _pass_on(graph, ref)
        _let_answer(graph, ref)
    kept = [Step(each.ref, None) for each in replicas(view, root) if each.ref not in {step.ref for step in steps}]
    each = tuple(preview(view, replica.ref, now, settings) for replica in replicas(view, root))
    told = tuple(one if not _is_leaving(view, one) else _only_steps(one) for one in each)
    return Preview(ref, None, (*steps, *kept), blocked=limit, replicas=told)


def _pass_on(graph: StateGraph, ref: ObjectRef) -> None:
    """What the hub said of the template's model holds for every replica."""
    told = [(key, answer) for (root, key), answer in graph.answers.items() if root == ref]
    for replica in GraphView(graph).replicas_of(ref):
        for key, answer in told:
            graph.record_answer(replica.ref, key, answer)


def _is_replica(move: Create | PatchRoot | Delete) -> bool:
    """Upgrades are the operator's own affair: no document asks for one, and its image is not known here."""
    return move.kind == WORKSPACE and move.reason != UPGRADE_REASON


def _is_leaving(view: GraphView, one: Preview) -> bool:
    found = view.root(one.root)
    return found is not None and root_meta(found).deleting_since is not None


def _only_steps(one: Preview) -> Preview:
    """A replica that goes is no mistake of the user's."""
    return Preview(one.root, None, one.steps)


def _step(graph: StateGraph, move: Create | PatchRoot | Delete) -> Step:
    if not isinstance(move, PatchRoot):
        return Step(move.ref, move)
    found = graph.root(move.root)
    return Step(move.root, move, tuple(_changes(move.patch, object_json(found) if found is not None else {}, "")))


def _changes(patch: Json, seen: Json, path: str) -> list[Change]:
    """What a merge patch changes, field by field."""
    found: list[Change] = []
    for key, value in patch.items():
        below, old = f"{path}.{key}" if path else key, seen.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            found += _changes(value, old, below)
        elif value != old:
            found.append(Change(below, value, old))
    return found


def _carry_out(graph: StateGraph, move: Create | PatchRoot | Delete, now: datetime) -> None:
    if isinstance(move, Create):
        name = move.body["metadata"]["name"]
        made = {
            "uid": f"uid-of-{name}",
            "resourceVersion": "0",
            "generation": 1,
            "creationTimestamp": rfc3339(now),
            "finalizers": [FINALIZERS[WORKSPACE.kind]],
        }
        _put(graph, parse_workspace(move.body | {"metadata": move.body["metadata"] | made}))
        return
    found = graph.root(move.root if isinstance(move, PatchRoot) else move.ref)
    if isinstance(found, Workspace) and isinstance(move, PatchRoot):
        _put(graph, parse_workspace(merged(object_json(found), move.patch)))
    elif isinstance(found, Workspace):
        metadata = msgspec.structs.replace(found.metadata, deletion_timestamp=rfc3339(now))
        _put(graph, found.model_copy(update={"metadata": metadata}))
    else:  # one that does not fit its model
        ref = move.root if isinstance(move, PatchRoot) else move.ref
        graph.apply(WORKSPACE, DeleteEvent(ref, found))


def _put(graph: StateGraph, found: Workspace | tuple[str, ...]) -> None:
    assert isinstance(found, Workspace), "what the planner makes fits the model"
    graph.apply(WORKSPACE, Apply(found.ref, found))


def _let_answer(graph: StateGraph, ref: ObjectRef) -> None:
    """Every replica is ready from now on: the next one may be changed."""
    for found in GraphView(graph).replicas_of(ref):
        if isinstance(found, Workspace) and not found.metadata.deletion_timestamp:
            ready = {
                "type": READY_CONDITION,
                "status": "True",
                "observedGeneration": found.metadata.generation,
            }
            before = found.status
            others = [c for c in before.get("conditions") or () if c.get("type") != READY_CONDITION]
            status = before | {"conditions": [*others, ready]}
            _put(graph, found.model_copy(update={"status_json": msgspec.json.encode(status)}))
