"""Gate: the StatefulSet exists and is ours. The operator creates it once the gates of the nodes are open."""

from __future__ import annotations

from kaito.api.workloads import STATEFUL_SET
from kaito.plan.ownership import is_child
from kaito.plan.snapshot import Snapshot, parse_time
from kaito.plan.verdict import Failed, Ready, Verdict

NAME = "WorkloadCreated"
CONDITION = "InferenceReady"


def judge(s: Snapshot) -> Verdict | None:
    found = s.stateful_set
    ref = STATEFUL_SET.ref(s.ref.namespace, s.ref.name)
    if found is None:
        return s.later(NAME, "the workload is created when the nodes are ready")
    since = parse_time(found.metadata.creation_timestamp)
    if not is_child(found.metadata, s.uid):
        return Failed(
            NAME,
            "WorkloadNameTaken",
            f"StatefulSet {ref.name} exists in {ref.namespace} and is not controlled by this Workspace",
            ref,
            "delete or rename that StatefulSet, or give the Workspace another name",
            since,
        )
    if found.metadata.deletion_timestamp:
        return s.later(NAME, f"StatefulSet {ref.name} is being deleted; it is created again when it is gone")
    return Ready(NAME, f"StatefulSet {ref.name} exists", ref, since)
