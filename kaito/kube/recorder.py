"""Recorder: Kubernetes Events for users. Aggregated by count, rate-limited, bounded, droppable."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import anyio

from kaito.api.core import EVENT
from kaito.api.meta import Json, ObjectRef
from kaito.clock import Clock, rfc3339
from kaito.kube.client import KubeClient
from kaito.kube.errors import AlreadyExists, ApiError, NotFound

QUEUE_MAX = 256
REMEMBERED_MAX = 512
INTERVAL_S = 0.2  # at most five Events a second
MESSAGE_LENGTH_MAX = 1024  # what the API server takes


@dataclass(frozen=True, slots=True)
class Happening:
    """`api_version`, `uid`: of the object it is about. `type` is Normal or Warning."""

    about: ObjectRef
    api_version: str
    uid: str
    type: str
    reason: str
    message: str


class Recorder:
    def __init__(self, client: KubeClient, *, component: str, now: Clock) -> None:
        self._client, self._component, self._now = client, component, now
        self._send, self._receive = anyio.create_memory_object_stream[Happening](QUEUE_MAX)
        self._counts: OrderedDict[Happening, int] = OrderedDict()
        self.dropped = 0

    def record(self, happening: Happening) -> None:
        """Queues the Event, or drops it when the queue is full."""
        try:
            self._send.send_nowait(happening)
        except anyio.WouldBlock:
            self.dropped += 1

    async def run(self) -> None:
        """Writes Events for ever; what the server refuses is dropped."""
        async for happening in self._receive:
            try:
                await self._write(happening)
            except ApiError:
                self.dropped += 1
            await anyio.sleep(INTERVAL_S)

    async def _write(self, happening: Happening) -> None:
        count = self._counts.pop(happening, 0) + 1
        self._counts[happening] = count
        if len(self._counts) > REMEMBERED_MAX:
            self._counts.popitem(last=False)
        body = self._event(happening, count)
        namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
        if count == 1:
            try:
                await self._client.create(EVENT, namespace, body)
                return
            except AlreadyExists:  # by this process's predecessor
                pass
        again = {"count": count, "lastTimestamp": body["lastTimestamp"]}
        try:
            await self._client.merge_patch(EVENT, EVENT.ref(namespace, name), again)
        except NotFound:  # the server forgets Events after an hour
            self._counts[happening] = 1
            await self._client.create(EVENT, namespace, body | {"count": 1, "firstTimestamp": body["lastTimestamp"]})

    def _event(self, happening: Happening, count: int) -> Json:
        """The name follows from the content, so that the same happening is the same Event."""
        about = happening.about
        digest = hashlib.sha256("\0".join([happening.uid, happening.reason, happening.message]).encode()).hexdigest()[
            :16
        ]
        moment = rfc3339(self._now())
        namespace = about.namespace or "default"
        return {
            "metadata": {"name": f"{about.name}.{digest}", "namespace": namespace},
            "involvedObject": {
                "apiVersion": happening.api_version,
                "kind": about.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": happening.uid,
            },
            "type": happening.type,
            "reason": happening.reason,
            "message": happening.message[:MESSAGE_LENGTH_MAX],
            "source": {"component": self._component},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": count,
        }
