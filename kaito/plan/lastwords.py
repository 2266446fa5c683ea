"""Crashed containers whose last words are in no status: ask for the end of their log, once per crash."""

from __future__ import annotations

from collections.abc import Iterator

from kaito.api.core import ContainerStatus
from kaito.plan.actions import Read
from kaito.plan.snapshot import Snapshot, has_crashed, is_pod_ready, log_key, pod_ref


def missing_logs(s: Snapshot) -> Iterator[Read]:
    """One `Read` per crash that has no termination message and no answer yet."""
    for pod in s.pods:
        if is_pod_ready(pod) or pod.metadata.deletion_timestamp:
            continue
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
            key = log_key(pod, status)
            if _has_crashed_silently(status) and s.view.answer(s.ref, key) is None:
                yield Read(
                    s.ref, key, "log", pod_ref(pod), status.name, f"{pod.metadata.name} crashed without a message"
                )


def _has_crashed_silently(status: ContainerStatus) -> bool:
    ended = status.state.terminated or status.last_state.terminated
    return has_crashed(status) and ended is not None and not ended.message
