"""What a planner decides: an ordered tuple of actions, each with its reason. Empty means converged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.plan.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Create:
    """POST a child. `AlreadyExists` and ours (see `plan.ownership`) counts as success."""

    kind: ResourceKind
    body: Json
    reason: str

    @property
    def ref(self) -> ObjectRef:
        return self.kind.ref(self.body["metadata"].get("namespace", ""), self.body["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of a child that exists; `uid` makes it a 409 instead of a re-creation when it is gone."""

    kind: ResourceKind
    body: Json
    uid: str
    reason: str

    @property
    def ref(self) -> ObjectRef:
        return self.kind.ref(self.body["metadata"].get("namespace", ""), self.body["metadata"]["name"])


@dataclass(frozen=True, slots=True)
class PatchRoot:
    """JSON merge patch of the root's metadata (finalizers, annotations); uid and resourceVersion are preconditions."""

    kind: ResourceKind
    root: ObjectRef
    patch: Json
    uid: str
    resource_version: str
    reason: str


@dataclass(frozen=True, slots=True)
class PatchStatus:
    """JSON merge patch of the root's status subresource, with uid and resourceVersion as preconditions.

    `is_progress`: nobody acts on it, so that it may be written a little later (`actors.pace`).
    """

    kind: ResourceKind
    root: ObjectRef
    status: Json  # a merge patch of .status: nulls remove
    uid: str
    resource_version: str
    reason: str
    is_progress: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a child that still has this uid."""

    kind: ResourceKind
    ref: ObjectRef
    uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Emit:
    """A Kubernetes Event about `about`; aggregated and rate-limited by the recorder, droppable.

    `is_progress`: it tells of a status that is progress, and goes with it.
    """

    about: ObjectRef
    about_uid: str
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    is_progress: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """Ask for something that cannot be watched; the answer enters the graph as an event under `key`.

    `log`: the last lines of the container's log in the pod `target`; `is_previous`: of its last run, which has ended.
    `hub`: what the model hub says of `model` (the answer is a `Lookup`), with the token in the Secret `target`, or with
    the operator's own where `target` is the root.
    `events`: the last warning among the Events of the object `target` with this `uid`: reason, line break, message.
    """

    root: ObjectRef
    key: str
    source: Literal["log", "hub", "events"]
    target: ObjectRef
    container: str
    reason: str
    tail_lines: int = 50
    is_previous: bool = True
    model: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep this until the operator ends: it enters the graph as the answer under `key`, and dirties nobody."""

    root: ObjectRef
    key: str
    text: str


Action: TypeAlias = Create | Apply | PatchRoot | PatchStatus | Delete | Emit | Read | Remember


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a root needs now. `recheck_s`: plan again after so many seconds even if no event comes."""

    root: ObjectRef
    actions: tuple[Action, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    recheck_s: float | None = None
