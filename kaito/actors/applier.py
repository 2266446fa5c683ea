"""Applier: executes a plan in order, with preconditions, and expects to see each write again.

Creates that stand next to each other are independent and go out together. Every write is fenced: it is sent only when
we may write for longer than its deadline. A create whose answer was lost is looked up: ours = success.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from itertools import groupby
from typing import assert_never

import anyio

from kaito.actors.outcome import Outcome, Retry, Settled, Terminal
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.kube.client import KubeClient
from kaito.kube.errors import AlreadyExists, ApiError, BadRequest, Conflict, Forbidden, Invalid, NotFound, Unreachable
from kaito.kube.ownership import adopt
from kaito.plan.actions import Action, Apply, Create, Delete, Emit, PatchRoot, PatchStatus, Plan, Read, Remember
from kaito.plan.ownership import is_own
from kaito.state.expectations import Expectation, Expectations

REQUEST_TIMEOUT_S = 30.0


class MayNotWrite(Exception):
    """The lease does not outlive the request's deadline."""


class TakenByAnother(Exception):
    """An object that is not ours holds the name of a child."""


class Applier:
    """`may_write(deadline_s)`: whether we lead until that monotonic second. The other callbacks must not block.

    `refused(root, child, words)`: what the server says to a child that is created or applied; "" where it takes it.
    """

    def __init__(
        self,
        client: KubeClient,
        expectations: Expectations,
        *,
        may_write: Callable[[float], bool],
        emit: Callable[[Emit], None],
        read: Callable[[Read], None],
        remember: Callable[[Remember], None] = lambda _: None,
        on_write: Callable[[str, str], None] = lambda _verb, _outcome: None,
        refused: Callable[[ObjectRef, ObjectRef, str], None] = lambda _root, _child, _words: None,
    ) -> None:
        self._client, self._expectations, self._may_write = client, expectations, may_write
        self._emit, self._read, self._remember, self._on_write = emit, read, remember, on_write
        self._refused = refused

    def tell(self, plan: Plan) -> bool:
        """Carries out a plan that needs no answer of the server, at once. Returns whether it is such a one."""
        spoken = [action for action in plan.actions if isinstance(action, Emit | Read | Remember)]
        if len(spoken) < len(plan.actions):
            return False
        for action in spoken:
            self._hand_over(action)
        return True

    async def execute(self, plan: Plan) -> Outcome:
        """Carries the plan out up to the first failure; the status is told to users all the same.

        Never raises for what a server may answer.
        """
        versions = _Versions()
        outcome, reached = await self._until_failure(plan, versions)
        if isinstance(outcome, Settled):
            return outcome
        for action in plan.actions[reached:]:
            if isinstance(action, PatchStatus):
                await self._one(plan.root, action, versions)
        return outcome

    async def _until_failure(self, plan: Plan, versions: _Versions) -> tuple[Outcome, int]:
        """How it ended, and after how many actions."""
        writes = reached = 0
        for is_create, group in groupby(plan.actions, key=lambda action: isinstance(action, Create)):
            batch = list(group)
            if is_create:
                outcomes = await self._together(plan.root, [item for item in batch if isinstance(item, Create)])
            else:
                outcomes = []
                for action in batch:
                    outcomes.append(await self._one(plan.root, action, versions))
                    if not isinstance(outcomes[-1], Settled):
                        break
            reached += len(outcomes)
            for outcome in outcomes:
                if not isinstance(outcome, Settled):
                    return outcome, reached
                writes += outcome.writes
        return Settled(writes), reached

    async def _together(self, root: ObjectRef, creates: list[Create]) -> list[Outcome]:
        outcomes: list[Outcome] = [Settled()] * len(creates)

        async def run(index: int, action: Create) -> None:
            outcomes[index] = await self._one(root, action, _Versions())

        async with anyio.create_task_group() as tasks:
            for index, action in enumerate(creates):
                tasks.start_soon(run, index, action)
        return outcomes

    async def _one(self, root: ObjectRef, action: Action, versions: _Versions) -> Outcome:
        if isinstance(action, Emit | Read | Remember):
            self._hand_over(action)
            return Settled()
        verb = type(action).__name__
        try:
            await self._write(root, action, versions)
        except (MayNotWrite, TakenByAnother) as error:
            self._on_write(verb, type(error).__name__)
            return Retry(error)
        except (Invalid, BadRequest) as error:
            self._on_write(verb, error.reason)
            self._answered(root, action, str(error))
            return Terminal(error)
        except ApiError as error:
            self._on_write(verb, error.reason)
            if isinstance(error, Forbidden):
                self._answered(root, action, str(error))
            return Retry(error, error.retry_after_s or 0.0)
        self._on_write(verb, "ok")
        self._answered(root, action, "")
        return Settled(1)

    def _answered(self, root: ObjectRef, action: Action, words: str) -> None:
        """What the server said to a child: the refusal's words, none where it took it."""
        if isinstance(action, Create | Apply):
            self._refused(root, action.ref, words)

    def _hand_over(self, action: Emit | Read | Remember) -> None:
        match action:
            case Emit():
                self._emit(action)
            case Read():
                self._read(action)
            case Remember():
                self._remember(action)
            case _:
                assert_never(action)

    async def _write(
        self, root: ObjectRef, action: Create | Apply | PatchRoot | PatchStatus | Delete, versions: _Versions
    ) -> None:
        now_s = anyio.current_time()
        if not self._may_write(now_s + REQUEST_TIMEOUT_S):
            raise MayNotWrite("the lease ends before the request would")
        ref = action.root if isinstance(action, PatchRoot | PatchStatus) else action.ref
        uid = action.uid if not isinstance(action, Create) else ""
        opened = self._expectations.open(
            root,
            ref,
            now_s=now_s,
            uid=uid,
            is_deletion=isinstance(action, Delete),
            is_status=isinstance(action, PatchStatus),
        )
        try:
            with anyio.CancelScope(deadline=now_s + REQUEST_TIMEOUT_S) as scope:
                written = await self._send(action, versions)
            if scope.cancelled_caught:
                raise Unreachable(f"no answer within {REQUEST_TIMEOUT_S:.0f} s")
        except BaseException:
            self._expectations.drop(opened)
            raise
        self._expect(opened, action, written)

    async def _send(
        self, action: Create | Apply | PatchRoot | PatchStatus | Delete, versions: _Versions
    ) -> Json | None:
        """The object as it is now; None where there is nothing to be seen of it."""
        match action:
            case Create(kind, body, _):
                return await self._create(kind, action.ref, body)
            case Apply(kind, body, uid, _):
                return await self._apply(kind, action.ref, body, uid)
            case PatchRoot(kind, root, patch, uid, version, _):
                sent = deepcopy(patch)
                sent["metadata"] = (sent.get("metadata") or {}) | versions.precondition(root, uid, version)
                return versions.note(root, await self._client.merge_patch(kind, root, sent))
            case PatchStatus(kind, root, status, uid, version, _, _):
                sent = {"metadata": versions.precondition(root, uid, version), "status": status}
                return versions.note(root, await self._client.merge_patch(kind, root, sent, subresource="status"))
            case Delete(kind, ref, uid, _):
                return await self._delete(kind, ref, uid)

    async def _delete(self, kind: ResourceKind, ref: ObjectRef, uid: str) -> Json | None:
        """None where the object is gone, or its name is another's. Any other conflict says nothing about it."""
        try:
            await self._client.delete(kind, ref, uid=uid)
        except NotFound:
            return None
        except Conflict:
            with suppress(NotFound):
                if (await self._client.read(kind, ref))["metadata"]["uid"] == uid:
                    raise
            return None
        return {}

    async def _create(self, kind: ResourceKind, ref: ObjectRef, body: Json) -> Json:
        try:
            return await self._client.create(kind, ref.namespace, body)
        except (AlreadyExists, Unreachable) as error:
            try:
                live = await self._client.read(kind, ref)
            except NotFound:
                raise error from None
            if is_own(body, live):
                return live
            raise TakenByAnother(f"{ref} exists and is not ours") from error

    async def _apply(self, kind: ResourceKind, ref: ObjectRef, body: Json, uid: str) -> Json:
        live = await self._client.read(kind, ref)
        metadata = live["metadata"]
        if metadata["uid"] != uid:
            raise Conflict(f"{ref} is another object now")
        adopted = adopt(metadata.get("managedFields") or [])
        if adopted is not None:
            precondition = {"uid": uid, "resourceVersion": metadata["resourceVersion"]}
            await self._client.merge_patch(kind, ref, {"metadata": precondition | {"managedFields": adopted}})
        return await self._client.apply(kind, ref, body | {"metadata": body["metadata"] | {"uid": uid}})

    def _expect(self, opened: Expectation, action: Action, written: Json | None) -> None:
        """A deletion waits for its event; any other write for the version that it made."""
        if written is None:
            self._expectations.drop(opened)
        elif not isinstance(action, Delete):
            version = str(written["metadata"]["resourceVersion"])
            self._expectations.answered(opened, version=version, now_s=anyio.current_time())
        else:
            opened.answered_s = anyio.current_time()


class _Versions:
    """Within one plan our own write moves a root's resourceVersion on: later patches go on from it."""

    def __init__(self) -> None:
        self._latest: dict[ObjectRef, str] = {}

    def precondition(self, root: ObjectRef, uid: str, version: str) -> Json:
        return {"uid": uid, "resourceVersion": self._latest.get(root, version)}

    def note(self, root: ObjectRef, written: Json) -> Json:
        self._latest[root] = str(written["metadata"]["resourceVersion"])
        return written
