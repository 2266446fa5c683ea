"""pod_log: what a container of this machine has written, and what it goes on writing."""

from __future__ import annotations

from collections.abc import AsyncIterator

from kaito.api.meta import Json
from kaito.local.kubelet.logs import LogRequest, read_lines
from kaito.local.kubelet.pod import PodWorker
from kaito.local.kubelet.sandbox import Sandbox


def pod_log(
    worker: PodWorker | None, sandbox: Sandbox, pod: Json, container: str, request: LogRequest, *, previous: bool
) -> AsyncIterator[bytes]:
    """Lines with their ends. Raises LookupError that says why there are none."""
    name, status = pod["metadata"]["name"], _status(pod, container)
    live = worker.container(container) if worker is not None else None
    run = live.runs if live is not None else int(status.get("restartCount") or 0)
    if not sandbox.path.is_dir():
        raise LookupError(_waits(name, container, status))
    if previous:
        path = sandbox.log_path(container, run - 1)
        if not path.exists():
            raise LookupError(f'previous terminated container "{container}" in pod "{name}" not found')
        return _lines(read_lines(path, request), request.bytes_max)
    if live is not None and live.log is not None:
        return live.log.stream(request)
    path = sandbox.log_path(container, run)
    if not path.exists():
        raise LookupError(_waits(name, container, status))
    return _lines(read_lines(path, request), request.bytes_max)


async def _lines(lines: list[bytes], bytes_max: int | None) -> AsyncIterator[bytes]:
    left = bytes_max
    for line in lines:
        if left is not None:
            line = line[:left]
            left -= len(line)
        if line:
            yield line


def _status(pod: Json, container: str) -> Json:
    status = pod.get("status") or {}
    listed = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return next((item for item in listed if item.get("name") == container), {})


def _waits(pod: str, container: str, status: Json) -> str:
    reason = ((status.get("state") or {}).get("waiting") or {}).get("reason") or "ContainerCreating"
    return f'container "{container}" in pod "{pod}" is waiting to start: {reason}'
