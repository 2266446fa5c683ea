"""StateGraph: objects and the edges between them. `apply(event)` says which roots have something new to look at.

Single writer, no await: a view taken between two events is consistent. Per event the work is proportional to the edges
of the one object, never to the number of roots; edges are computed from the object, never stored a second time
(`python -m benchmarks.watch`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from kaito.api.core import CUSTOM_RESOURCE_DEFINITION, definition_of
from kaito.api.meta import ObjectRef, ResourceKind
from kaito.state.edges import Key
from kaito.state.events import Apply, InitDone, WatchEvent
from kaito.state.index import Index
from kaito.state.kinds import KINDS, KindRow
from kaito.state.reuse import reused
from kaito.state.sharing import is_share_changed
from kaito.state.store import Change, Store
from kaito.state.view import Answer, ServerCapabilities


class StateGraph:
    """`shares_nodes`: the user brings the nodes, so that roots compete for them.

    `standing`: objects of by-name kinds that concern every root.
    """

    def __init__(
        self,
        kinds: Iterable[KindRow] = KINDS,
        *,
        shares_nodes: bool = False,
        standing: frozenset[ObjectRef] = frozenset(),
    ) -> None:
        self.shares_nodes = shares_nodes
        self.standing = standing
        self.rows: dict[ResourceKind, KindRow] = {row.kind: row for row in kinds}
        self.stores: dict[ResourceKind, Store] = {kind: Store() for kind in self.rows}
        self.absent: set[ResourceKind] = set()
        self.looked_up: set[ObjectRef] = set()  # of kinds watched by name
        self.capabilities = ServerCapabilities()
        self.answers: dict[tuple[ObjectRef, str], Answer] = {}
        self.pointing = Index()  # key → who points at it
        self.known = Index()  # key → who is known by it, beside its own ref
        self._referenced: frozenset[ObjectRef] | None = None  # None: to be computed
        self._by_kind = {row.kind.kind: row for row in self.rows.values()}
        self._named_kinds = frozenset(row.kind.kind for row in self.rows.values() if row.by_name)
        self._root_stores = {row.kind.kind: self.stores[row.kind] for row in self.rows.values() if row.is_root}
        self._root_kinds = frozenset(row.kind.kind for row in self.rows.values() if row.is_root)

    # What goes in.

    def apply(self, kind: ResourceKind, event: WatchEvent) -> Set[ObjectRef]:
        """Takes one event in. Returns the roots that it dirtied, by its old and by its new edges."""
        store = self.stores[kind]
        was_synced = store.is_synced
        dirtied = self._take(self.rows[kind], store.receive(event))
        if isinstance(event, InitDone):
            self.absent.discard(kind)
            if not was_synced:
                dirtied |= set(self.roots())
        return dirtied

    def apply_named(self, kind: ResourceKind, ref: ObjectRef, obj: Any | None) -> Set[ObjectRef]:
        """The state of one object of a kind that is watched by name; None: looked up, and it does not exist."""
        store, before = self.stores[kind], self.stores[kind].get(ref)
        is_first = ref not in self.looked_up
        self.looked_up.add(ref)
        changes = store.discard(ref) if obj is None else store.receive(Apply(ref, obj))
        dirtied = self._take(self.rows[kind], changes)
        if is_first and before is None:
            self._add_roots_towards(ref, dirtied)
        if ref in self.standing:
            dirtied |= set(self.roots())
        return dirtied

    def forget_named(self, kind: ResourceKind, ref: ObjectRef) -> None:
        """Nobody refers to it any more."""
        self.looked_up.discard(ref)
        self._take(self.rows[kind], self.stores[kind].discard(ref))

    def mark_absent(self, kind: ResourceKind) -> Set[ObjectRef]:
        """Discovery succeeded without the kind: synced and empty. Dirties every root when that is new."""
        if kind in self.absent:
            return frozenset()
        self.absent.add(kind)
        self._take(self.rows[kind], self.stores[kind].clear())
        return frozenset(self.roots())

    def record_answer(self, root: ObjectRef, key: str, answer: Answer) -> frozenset[ObjectRef]:
        """The answer to a `Read` action."""
        self.answers[root, key] = answer
        return frozenset({root})

    # What comes out.

    def roots(self) -> tuple[ObjectRef, ...]:
        return tuple(ref for kind, row in self.rows.items() if row.is_root for ref in self.stores[kind])

    def root(self, ref: ObjectRef) -> Any | None:
        """The object of a root kind, None when it is gone."""
        return self.stores[self._by_kind[ref.kind].kind].get(ref)

    def referenced(self) -> frozenset[ObjectRef]:
        """Objects of by-name kinds that some root points at; the very same set until that changes."""
        if self._referenced is None:
            found = (key for key in self.pointing if isinstance(key, ObjectRef) and key.kind in self._named_kinds)
            self._referenced = frozenset(found) | self.standing
        return self._referenced

    def missing(self) -> tuple[str, ...]:
        """Kinds that have not been listed yet, by plural, in the order of the rows."""
        return tuple(
            kind.plural for kind, row in self.rows.items() if not row.by_name and not self.stores[kind].is_synced
        )

    def pointers(self, key: Key, kind: ResourceKind) -> list[ObjectRef]:
        """Objects of this kind that point at the key."""
        return [ref for ref in self.pointing.holders(key) if ref.kind == kind.kind]

    def sizes(self) -> Mapping[str, int]:
        return {kind.plural: len(store) for kind, store in self.stores.items()}

    # Edges.

    def _take(self, row: KindRow, changes: Iterable[Change]) -> set[ObjectRef]:
        dirtied: set[ObjectRef] = set()
        for ref, before, after in changes:
            if before is not None and after is not None:
                kept, is_news = reused(before, after)
                self.stores[row.kind].put(ref, kept)
                if not is_news:
                    continue
                old, new = (row.edges(before), row.names(before)), (row.edges(after), row.names(after))
                if old != new:
                    self._add_touched(ref, *old, dirtied)
                    self._unlink(ref, *old)
                    self._link(ref, *new)
                self._add_touched(ref, *new, dirtied)
            elif after is not None:
                self._link(ref, row.edges(after), row.names(after))
                self._add_touched(ref, row.edges(after), row.names(after), dirtied)
            elif before is not None:
                self._add_touched(ref, row.edges(before), row.names(before), dirtied)
                self._unlink(ref, row.edges(before), row.names(before))
            if row.kind == CUSTOM_RESOURCE_DEFINITION:
                dirtied |= self._defined_by(ref)
            if row.is_root:
                dirtied.add(ref)
                if after is None:
                    self._forget_answers(ref)
            if self.shares_nodes and is_share_changed(row.kind, before, after, is_root=row.is_root):
                for obj in (before, after):
                    self._add_rivals(row, obj, dirtied)
        return dirtied

    def _defined_by(self, crd: ObjectRef) -> set[ObjectRef]:
        """The roots of the kind that this definition defines."""
        return {ref for row in self.rows.values() if row.is_root and definition_of(row.kind) == crd
                for ref in self.stores[row.kind]}  # fmt: skip

    def _link(self, ref: ObjectRef, edges: tuple[Key, ...], names: tuple[Key, ...]) -> None:
        for key in edges:
            self._heed_reference(key)
            self.pointing.add(key, ref)
        for key in names:
            self.known.add(key, ref)

    def _unlink(self, ref: ObjectRef, edges: tuple[Key, ...], names: tuple[Key, ...]) -> None:
        for key in edges:
            self._heed_reference(key)
            self.pointing.discard(key, ref)
        for key in names:
            self.known.discard(key, ref)

    def _heed_reference(self, key: Key) -> None:
        if type(key) is ObjectRef and key.kind in self._named_kinds:
            self._referenced = None

    def _add_touched(
        self, ref: ObjectRef, edges: tuple[Key, ...], names: tuple[Key, ...], found: set[ObjectRef]
    ) -> None:
        """Roots that this object points at, and roots from which a path of pointers leads to it."""
        self._add_roots(edges, found)
        self._add_roots_towards(ref, found)
        for key in names:
            self._add_roots_towards(key, found)

    def _add_roots(self, edges: tuple[Key, ...], found: set[ObjectRef]) -> None:
        """A name that could be a root's is none until there is one: nobody plans for what does not exist."""
        for key in edges:
            if type(key) is not ObjectRef:
                continue
            store = self._root_stores.get(key.kind)
            if store is not None and store.get(key) is not None:
                found.add(key)

    def _add_roots_towards(self, key: Key, found: set[ObjectRef]) -> None:
        """Roots that point at the key, or that something pointing at it points at (node ← claim → root)."""
        for holder in self.pointing.holders(key):
            if holder.kind in self._root_kinds:
                found.add(holder)
                continue
            row = self._by_kind[holder.kind]
            obj = self.stores[row.kind].get(holder)
            if obj is not None:
                self._add_roots(row.edges(obj), found)

    def _add_rivals(self, row: KindRow, obj: Any | None, found: set[ObjectRef]) -> None:
        """Roots that share nodes with those found, or with this root, or share nodes with such a root, and so on."""
        queue = [key for ref in found for key in self._edges_of(ref)]
        queue += row.edges(obj) if row.is_root and obj is not None else ()
        seen: set[ObjectRef] = set()
        while queue:
            key = queue.pop()
            nodes = () if isinstance(key, ObjectRef) else self.known.holders(key)
            for node in nodes:
                if node not in seen:
                    seen.add(node)
                    queue += self._edges_of_rivals(node, found)

    def _edges_of_rivals(self, node: ObjectRef, found: set[ObjectRef]) -> list[Key]:
        """Adds the roots that may use the node; returns what those that are new point at."""
        row = self._by_kind[node.kind]
        obj = self.stores[row.kind].get(node)
        names = row.names(obj) if obj is not None else ()
        new = {ref for key in names for ref in self.pointing.holders(key) if ref.kind in self._root_kinds} - found
        found |= new
        return [key for ref in new for key in self._edges_of(ref)]

    def _edges_of(self, ref: ObjectRef) -> tuple[Key, ...]:
        row = self._by_kind[ref.kind]
        obj = self.stores[row.kind].get(ref)
        return row.edges(obj) if obj is not None else ()

    def _forget_answers(self, root: ObjectRef) -> None:
        for key in [key for key in self.answers if key[0] == root]:
            del self.answers[key]
