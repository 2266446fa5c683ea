"""ControllerRevisions: the last specs of a Workspace, numbered; the Workspace carries number and hash of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from kaito.api.meta import Json
from kaito.api.names import REVISION_OF_LABEL, SPEC_HASH_ANNOTATION, UPSTREAM_REVISION_ANNOTATION
from kaito.api.workloads import CONTROLLER_REVISION, ControllerRevision
from kaito.api.workspace import Workspace
from kaito.plan.actions import Action, Apply, Create, Delete, PatchRoot
from kaito.plan.memo import Memo
from kaito.plan.ownership import child_head, controller_reference
from kaito.plan.roots import RootMeta
from kaito.state.view import ClusterView

REVISIONS_MAX = 10
HASH_LENGTHS = (5, 10, 20)  # of the name: upstream's, and longer ones where two specs share its beginning


@dataclass(frozen=True, slots=True)
class Revision:
    """The hash of the spec as it is now, and its number."""

    digest: str
    number: int


def current_revision(view: ClusterView, root: RootMeta, ws: Workspace) -> Revision:
    """A spec that was seen before and has not been replaced keeps its number; any other gets the next one."""
    digest = _digests.get(root.uid, (ws.resource, ws.inference, ws.tuning), lambda: _digest_of(_data(ws)))
    known = view.revisions_of(root.ref)
    if known and _digest(known[-1]) == digest:
        return Revision(digest, known[-1].revision)
    return Revision(digest, known[-1].revision + 1 if known else 1)


_digests: Memo[str] = Memo()


def _data(ws: Workspace) -> Json:
    """The spec as its author wrote it."""
    return {
        name: part.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for name in ("resource", "inference", "tuning")
        if (part := getattr(ws, name)) is not None
    }


def _digest_of(data: Json) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def record_revision(view: ClusterView, root: RootMeta, ws: Workspace, revision: Revision) -> Iterator[Action]:
    """Writes down a spec that is new, or that has come back; forgets the oldest; marks the Workspace."""
    known = view.revisions_of(root.ref)
    if not known or _digest(known[-1]) != revision.digest:
        again = next((each for each in known if _digest(each) == revision.digest), None)
        if again is not None:
            body = _body(root, ws, revision, again.metadata.name)
            yield Apply(CONTROLLER_REVISION, body, again.metadata.uid, "this spec has come back")
        else:
            yield Create(CONTROLLER_REVISION, _body(root, ws, revision, _name(root, known, revision)), "a new spec")
            for old in known[: max(0, len(known) + 1 - REVISIONS_MAX)]:
                ref = CONTROLLER_REVISION.ref(old.metadata.namespace, old.metadata.name)
                yield Delete(CONTROLLER_REVISION, ref, old.metadata.uid, f"only {REVISIONS_MAX} are kept")
    marks = revision_marks(revision)
    if any(root.annotations.get(key) != value for key, value in marks.items()):
        patch = {"metadata": {"annotations": marks}}
        yield PatchRoot(root.kind, root.ref, patch, root.uid, root.resource_version, "its spec has a number")


def revision_marks(revision: Revision) -> dict[str, str]:
    """The annotations by which upstream's tools know a Workspace's revision."""
    return {SPEC_HASH_ANNOTATION: revision.digest, UPSTREAM_REVISION_ANNOTATION: str(revision.number)}


def _digest(revision: ControllerRevision) -> str | None:
    return revision.metadata.annotation(SPEC_HASH_ANNOTATION)


def _name(root: RootMeta, known: tuple[ControllerRevision, ...], revision: Revision) -> str:
    taken = {each.metadata.name for each in known}
    names = [f"{root.ref.name}-{revision.digest[:length]}" for length in HASH_LENGTHS]
    return next((name for name in names if name not in taken), f"{root.ref.name}-{revision.digest[:40]}")


def _body(root: RootMeta, ws: Workspace, revision: Revision, name: str) -> Json:
    owner = controller_reference(root.kind, root.ref.name, root.uid)
    labels, annotations = {REVISION_OF_LABEL: root.ref.name}, {SPEC_HASH_ANNOTATION: revision.digest}
    head = child_head(CONTROLLER_REVISION, root.ref, owner, labels, name=name, annotations=annotations)
    return head | {"data": _data(ws), "revision": revision.number}
