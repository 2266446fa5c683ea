"""The seam: all that the operator and the robots ever ask of an API server.

Three implementations pass one contract suite: `kube.adapter` (HTTP, kubernetes-asyncio's configuration and session),
`local.client` (the embedded API server in process, used by the simulator) and, through the first, a real one.
Lists and watches are bytes, because decoding them is the hot path and belongs to `watchers`; writes are decoded JSON.

Every method raises `kube.errors.ApiError` subclasses, and `Unreachable` when its deadline passes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from kaito.api.meta import Json, ObjectRef, ResourceKind

FIELD_MANAGER = "kaito"


@dataclass(frozen=True, slots=True)
class Discovery:
    """What the server has: its version and every served (group, version, kind) with its plural."""

    major: int
    minor: int
    served: frozenset[tuple[str, str, str]] = field(default_factory=frozenset)  # (group, version, plural)

    def has(self, kind: ResourceKind) -> bool:
        return (kind.group, kind.version, kind.plural) in self.served


@dataclass(frozen=True, slots=True)
class Scope:
    """Which objects of a kind: one namespace (empty: all) and the server-side selectors."""

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""


ALL = Scope()


class KubeClient(Protocol):
    async def discover(self) -> Discovery:
        """Version and served kinds. Raises `ServerError` rather than return a partial answer."""
        ...

    async def list_page(
        self, kind: ResourceKind, scope: Scope = ALL, *, limit: int = 500, continue_: str = ""
    ) -> bytes:
        """One page of a list, as the JSON body of the answer. `Gone` when the continue token has expired."""
        ...

    def open_watch(
        self, kind: ResourceKind, scope: Scope = ALL, *, resource_version: str, timeout_s: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A watch with bookmarks: chunks of newline-delimited JSON as they come from the socket, in any split.

        Entering raises `Gone`, `NotFound` …; the iterator ends when the server closes, a reset raises `Unreachable`.
        """
        ...

    async def read(self, kind: ResourceKind, ref: ObjectRef) -> Json:
        """GET of one object."""
        ...

    async def create(
        self, kind: ResourceKind, namespace: str, body: Json, *, subresource: str = "", name: str = ""
    ) -> Json:
        """POST with field manager `kaito`. `subresource` with `name`: e.g. the binding of a pod."""
        ...

    async def apply(self, kind: ResourceKind, ref: ObjectRef, body: Json) -> Json:
        """Server-side apply, forced, field manager `kaito`. The body must carry `metadata.uid`."""
        ...

    async def merge_patch(self, kind: ResourceKind, ref: ObjectRef, patch: Json, *, subresource: str = "") -> Json:
        """JSON merge patch. Preconditions are put in the patch: `metadata.uid`, `metadata.resourceVersion`."""
        ...

    async def delete(
        self,
        kind: ResourceKind,
        ref: ObjectRef,
        *,
        uid: str,
        propagation: str = "Background",
        grace_s: int | None = None,
    ) -> None:
        """DELETE with a uid precondition: `Conflict` when another object has taken the name, `NotFound` when gone."""
        ...

    async def read_log(
        self, ref: ObjectRef, *, container: str, tail_lines: int, bytes_max: int = 1 << 20, previous: bool = False
    ) -> str:
        """The last lines of a container's log."""
        ...

    async def aclose(self) -> None:
        """Closes connections; open watches end."""
        ...
