"""The demo's picture of a Workspace on its way."""

from __future__ import annotations

from typing import Any

from kaito.api.meta import Json
from kaito.cli.demo_view import WORDS, Journal, chain, has_failed, is_ready, stages_of
from kaito.cli.tables import columns, server_table
from kaito.plan.gates import GATES
from tests.builders import at, moment


def workspace(
    passed: dict[str, float], *blockers: Json, succeeded: tuple[str, str] = ("False", "workspacePending")
) -> Json:
    return {
        "kind": "Workspace",
        "metadata": {"name": "phi", "namespace": "default"},
        "status": {
            "state": "Pending",
            "timeline": [
                {"stage": stage, "at": at(seconds), "message": f"{stage} is passed"}
                for stage, seconds in passed.items()
            ],
            "blockers": list(blockers),
            "conditions": [{"type": "WorkspaceSucceeded", "status": succeeded[0], "reason": succeeded[1]}],
        },
    }


def blocker(gate: str, since: float = 0, **more: Any) -> Json:
    return {
        "gate": gate,
        "reason": "Because",
        "message": "it waits",
        "culprit": "node/n1",
        "since": at(since),
        "nextStep": "wait",
    } | more


def test_every_gate_has_words():
    assert list(WORDS) == [gate.name for gate in GATES]


def test_stages_are_passed_waiting_or_later():
    stages = stages_of(
        workspace({"NodesPlanned": 1, "ClaimCreated": 2}, blocker("ClaimLaunched", 2)),
    )
    assert [(stage.gate, stage.mark) for stage in stages[:4]] == [
        ("NodesPlanned", "passed"),
        ("ClaimCreated", "passed"),
        ("ClaimLaunched", "waiting"),
        ("NodeRegistered", "later"),
    ]
    assert stages[0].note == "NodesPlanned is passed" and stages[2].note == "it waits" and stages[2].since == moment(2)


def test_a_failed_stage_is_marked_and_the_chain_names_object_and_remedy():
    found = workspace({}, blocker("ClaimLaunched", 0, nextStep="ask for quota"), succeeded=("False", "workspaceFailed"))
    assert has_failed(found) and not is_ready(found)
    assert [stage.mark for stage in stages_of(found) if stage.gate == "ClaimLaunched"] == ["failed"]
    assert chain(found, moment(90)) == [
        "workspace/default/phi is Pending",
        "  because ClaimLaunched (Because) for 1m30s: it waits",
        "      object: node/n1",
        "      next:   ask for quota",
    ]


def test_the_journal_tells_each_thing_once():
    journal = Journal(moment(0))
    first = workspace({"NodesPlanned": 0}, blocker("ClaimLaunched", 1))
    assert journal.lines(stages_of(first)) == [
        "    0s  ok    nodes planned: NodesPlanned is passed",
        "    1s  ...   machine launched: it waits",
    ]
    assert journal.lines(stages_of(first)) == []
    second = workspace({"NodesPlanned": 0, "ClaimLaunched": 4})
    assert journal.lines(stages_of(second)) == ["    4s  ok    machine launched: ClaimLaunched is passed"]
    assert journal.lines(stages_of(workspace({"NodesPlanned": 0}))) == ["        back  machine launched"]


def test_a_workspace_without_status_is_all_later():
    stages = stages_of({"metadata": {"name": "phi"}})
    assert {stage.mark for stage in stages} == {"later"}


def test_columns_are_as_wide_as_their_widest_cell():
    assert columns(["A", "LONG"], [["wide cell", "x"], ["", "y"]]) == [
        "A           LONG",
        "wide cell   x",
        "            y",
    ]


def test_a_server_table_shows_what_kubectl_shows():
    table = {
        "columnDefinitions": [{"name": "Name", "priority": 0}, {"name": "Images", "priority": 1}, {"name": "Age"}],
        "rows": [{"cells": ["phi", "server:1", None]}, {"cells": ["two\nlines", "x", True]}],
    }
    assert server_table(table) == ["NAME        AGE", "phi", "two lines   true"]
    assert server_table(table, wide=True)[0] == "NAME        IMAGES     AGE"


def test_a_stage_that_a_root_will_never_pass_is_not_ahead_of_it():
    def ahead(root: Json) -> set[str]:
        return {stage.gate for stage in stages_of(root)}

    inference, tuning = {"kind": "Workspace", "inference": {}}, {"kind": "Workspace", "tuning": {"method": "lora"}}
    without, with_machine = ({"kind": "RAGEngine", "spec": spec} for spec in ({}, {"compute": {"instanceType": "x"}}))
    everything = {gate.name for gate in GATES}
    assert ahead(inference) == ahead(with_machine) == everything - {"JobSucceeded"}
    assert ahead(tuning) == everything - {"ServerReady"}
    assert ahead(without) == {"NodesPlanned", "WorkloadCreated", "PodScheduled", "ContainersStarted", "ServerReady"}


def test_a_ragengine_has_its_own_condition():
    rag = workspace({}, blocker("PodScheduled")) | {"kind": "RAGEngine"}
    rag["status"]["conditions"] = [{"type": "RAGEngineSucceeded", "status": "False", "reason": "ragengineFailed"}]
    assert has_failed(rag) and not is_ready(rag)
    assert chain(rag, moment(9))[0] == "ragengine/default/phi is Pending"
