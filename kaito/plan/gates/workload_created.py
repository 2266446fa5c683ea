"""Gate: the workload exists and is ours. The operator creates it once the gates of the nodes are open."""

from __future__ import annotations

from datetime import datetime

from kaito.api.core import SERVICE
from kaito.api.meta import ObjectRef
from kaito.plan.ownership import is_child
from kaito.plan.refusals import refusal, refused_change
from kaito.plan.repairs import contested
from kaito.plan.snapshot import Snapshot, parse_time
from kaito.plan.verdict import Failed, Ready, Verdict

NAME = "WorkloadCreated"
CONDITION = "InferenceReady"


def judge(s: Snapshot) -> Verdict | None:
    return _taken_service(s) or _judge_workload(s)


def _taken_service(s: Snapshot) -> Failed | None:
    """Without its Services nobody reaches the server: somebody else's Service of that name is a failure, too."""
    for name in s.work.services(s.ref.name):
        found = s.view.service(s.ref.namespace, name)
        if found is not None and not is_child(found.metadata, s.uid):
            return _taken(s, SERVICE.ref(s.ref.namespace, name), parse_time(found.metadata.creation_timestamp))
    return None


def _judge_workload(s: Snapshot) -> Verdict:
    found, ref = s.workload, s.workload_ref
    if found is None:
        return refusal(s, NAME, ref) or s.later(NAME, "the workload is created when the nodes are ready")
    since = parse_time(found.metadata.creation_timestamp)
    if not is_child(found.metadata, s.uid):
        return _taken(s, ref, since)
    if found.metadata.deletion_timestamp:
        return s.later(NAME, f"{ref.kind} {ref.name} is being deleted; it is created again when it is gone")
    unfinished = contested(s, NAME) or refused_change(s, NAME, ref)
    return unfinished or Ready(NAME, f"{ref.kind} {ref.name} exists", ref, since)


def _taken(s: Snapshot, ref: ObjectRef, since: datetime | None) -> Failed:
    return Failed(
        NAME,
        "ServiceNameTaken" if ref.kind == SERVICE.kind else "WorkloadNameTaken",
        f"{ref.kind} {ref.name} exists in {ref.namespace} and is not controlled by this {s.ref.kind}",
        ref,
        f"delete or rename that {ref.kind}, or give the {s.ref.kind} another name",
        since,
    )
