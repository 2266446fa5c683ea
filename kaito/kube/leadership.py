"""Leadership: drives the LeaseMachine through a KubeClient. A lost lease ends the process; a new one starts clean."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import anyio
import anyio.abc

from kaito.api.core import LEASE
from kaito.api.meta import Json
from kaito.api.names import OPERATOR_NAME
from kaito.clock import Clock, rfc3339
from kaito.kube.client import KubeClient
from kaito.kube.election import Create, LeaseMachine, Record, Renew, Stand, Take
from kaito.kube.errors import ApiError, NotFound

LEASE_S = 45.0  # longer than a request's deadline (30 s) by more than a renewal interval
RETRY_S = 5.0
RELEASE_TIMEOUT_S = 3.0
LOCK_NAME = OPERATOR_NAME


class LeaseLost(Exception):
    """Another replica leads, or ours could not be renewed in time."""


class Leadership:
    """`changed` is called when we begin to lead, `on_trouble` when the lease can be neither read nor written.

    `on_stand` gets the name of whoever leads, once for each that we see to lead.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        identity: str,
        now: Clock,
        rng: Random,
        changed: Callable[[], None] = lambda: None,
        on_trouble: Callable[[ApiError], None] = lambda _: None,
        on_stand: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._client, self._now, self._rng, self._changed = client, now, rng, changed
        self._on_trouble, self._on_stand, self._stands_by = on_trouble, on_stand, ""
        self._ref = LEASE.ref(namespace, LOCK_NAME)
        self.machine = LeaseMachine(identity, duration_s=LEASE_S)
        self.is_leader = False

    def may_write(self, deadline_s: float) -> bool:
        """Whether we lead until that monotonic second."""
        return self.machine.may_write(deadline_s)

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Raises LeaseLost when we led and no longer do; releases the lease when cancelled."""
        task_status.started()
        try:
            while True:
                try:
                    with anyio.move_on_after(RETRY_S):
                        await self._turn()
                except ApiError as error:
                    self._on_trouble(error)  # tried again below; the deadline of the lease decides
                self._settle()
                await anyio.sleep(self._rng.uniform(0.8, 1.0) * RETRY_S)
        finally:
            if self.is_leader:
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + RELEASE_TIMEOUT_S):
                    await self._release()

    def _settle(self) -> None:
        leads = self.may_write(anyio.current_time())
        if self.is_leader and not leads:
            self.is_leader = False
            raise LeaseLost(
                f"the lease {self._ref.namespace}/{self._ref.name} is {self.machine.holder or 'nobody'}'s now"
            )
        if leads and not self.is_leader:
            self.is_leader = True
            self._changed()

    async def _turn(self) -> None:
        record: Record | None
        try:
            record = _record(await self._client.read(LEASE, self._ref))
        except NotFound:
            record = None
        sent_s = anyio.current_time()
        match self.machine.observe(record, sent_s):
            case Create():
                body = {
                    "metadata": {"name": self._ref.name, "namespace": self._ref.namespace},
                    "spec": self._spec(0, True),
                }
                self.machine.written(_record(await self._client.create(LEASE, self._ref.namespace, body)), sent_s)
            case Take(version, transitions):
                await self._patch(version, self._spec(transitions, True), sent_s)
            case Renew(version, transitions):
                await self._patch(version, self._spec(transitions, False), sent_s)
            case Stand(holder):
                if holder != self._stands_by:
                    self._stands_by = holder
                    self._on_stand(holder)

    async def _patch(self, version: str, spec: Json, sent_s: float) -> None:
        patch = {"metadata": {"resourceVersion": version}, "spec": spec}
        self.machine.written(_record(await self._client.merge_patch(LEASE, self._ref, patch)), sent_s)

    async def _release(self) -> None:
        """Says that we no longer lead, so that another replica need not wait."""
        self.machine.released()
        try:
            record = _record(await self._client.read(LEASE, self._ref))
            if record.holder == self.machine.identity:
                patch = {"metadata": {"resourceVersion": record.version}, "spec": {"holderIdentity": ""}}
                await self._client.merge_patch(LEASE, self._ref, patch)
        except ApiError:
            return  # it expires by itself

    def _spec(self, transitions: int, is_new: bool) -> Json:
        moment = self._now()
        micro = rfc3339(moment).removesuffix("Z") + f".{moment.microsecond:06d}Z"
        spec: Json = {
            "holderIdentity": self.machine.identity,
            "leaseDurationSeconds": int(LEASE_S),
            "leaseTransitions": transitions,
            "renewTime": micro,
        }
        return spec | ({"acquireTime": micro} if is_new else {})


def _record(body: Json) -> Record:
    spec = body.get("spec") or {}
    return Record(
        str(spec.get("holderIdentity") or ""),
        float(spec.get("leaseDurationSeconds") or LEASE_S),
        int(spec.get("leaseTransitions") or 0),
        str(body["metadata"]["resourceVersion"]),
    )
