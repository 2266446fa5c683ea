"""All indexes of a service: names to indexes, and the folders they live in."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias, TypeVar

import structlog

from kaito.clock import wall_clock
from kaito.logs import Event
from kaito.rag.changes import QuotaExceeded
from kaito.rag.embed import Embedding
from kaito.rag.generation import Document
from kaito.rag.index import Given, Index, IndexClosed
from kaito.rag.persist.disk import Disk, write_whole
from kaito.rag.persist.folder import IndexDamaged, IndexFolder, read_snapshot, snapshot_pieces
from kaito.rag.persist.paths import LIVE_FOLDER, PERSISTED_FILE, confined
from kaito.rag.persist.records import Content, End, Header
from kaito.rag.settings import RagSettings
from kaito.rag.vectors import VectorStore

StoreMaker: TypeAlias = Callable[[str, int], Awaitable[VectorStore]]  # index uid, dimensions
T = TypeVar("T")
THREADS = 8


class NoSuchIndex(LookupError):
    def __init__(self, name: str) -> None:
        super().__init__(f"No such index: '{name}' exists.")


class IndexExists(Exception):
    pass


class IndexUnusable(Exception):
    """The index is there, but not for this service as it is configured; the message has the remedy."""


class Indexes:
    """Created by `open_indexes`. `unusable`: names of indexes that could not be opened, and why."""

    def __init__(self, settings: RagSettings, embedding: Embedding, make_store: StoreMaker, disk: Disk) -> None:
        self.settings = settings
        self.embedding = embedding
        self.unusable: dict[str, str] = {}
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="index")
        self._make_store = make_store
        self._disk = disk
        self._root = settings.storage / LIVE_FOLDER
        self._indexes: dict[str, Index] = {}
        self._opening = asyncio.Lock()  # indexes come, go and are replaced one at a time

    # -- reading

    def names(self) -> list[str]:
        return list(self._indexes)

    def get(self, name: str) -> Index:
        """Raises NoSuchIndex, IndexUnusable."""
        if (index := self._indexes.get(name)) is None:
            if (reason := self.unusable.get(name)) is not None:
                raise IndexUnusable(reason)
            raise NoSuchIndex(name)
        return index

    # -- changing

    async def insert(self, name: str, given: Sequence[Given]) -> list[Document]:
        """Into the index of this name, which is made if there is none. Raises as `Index.insert`, and QuotaExceeded."""
        if not given:
            return []
        while True:
            index = self._indexes.get(name) or await self._create(name)
            try:
                return await index.insert(given)
            except IndexClosed:
                async with self._opening:  # whoever closed it has replaced it by then
                    if self._indexes.get(name) is index:
                        raise
            except BaseException:  # cancellation, too
                await asyncio.shield(self._drop_unwritten(index))
                raise

    async def _create(self, name: str) -> Index:
        async with self._opening:
            if (index := self._indexes.get(name)) is not None:
                return index
            if name in self.unusable:
                raise IndexUnusable(self.unusable[name])
            self._check_quota()
            header = self._header(name)
            folder = await self._in_thread(lambda: IndexFolder.create(self._root / header.uid, header, self._disk))
            index = self._indexes[name] = await self._open(folder, [], 0)
            return index

    def _check_quota(self) -> None:
        bound = self.settings.limits.indexes_max
        if bound and len(self._indexes) >= bound:
            raise QuotaExceeded(
                f"there are {bound} indexes, as many as RAG_INDEXES_MAX allows: delete one or raise the bound"
            )

    def _header(self, name: str) -> Header:
        uid = secrets.token_hex(16)
        model, dimensions = self.embedding.model, self.embedding.dimensions
        return Header(uid=uid, name=name, dimensions=dimensions, model=model, created=wall_clock().timestamp())

    async def delete(self, name: str) -> None:
        """For good, from the disk too. Raises NoSuchIndex."""
        async with self._opening:
            if (index := self._indexes.get(name)) is None:
                raise NoSuchIndex(name)
            await self._retire(index)

    async def _drop_unwritten(self, index: Index) -> None:
        """An index that was made for documents that were then refused goes; who waits to write to it makes another."""
        async with self._opening:
            if self._indexes.get(index.name) is index and await index.close_if_unwritten():
                await self._retire(index)

    async def _retire(self, index: Index) -> None:
        path = index.folder.path
        gone = path.with_name(f"{path.name}.deleted")
        await self._in_thread(lambda: self._disk.move(path, gone))
        if self._indexes.get(index.name) is index:
            del self._indexes[index.name]
        await index.store.drop()
        await index.close()
        await self._in_thread(lambda: shutil.rmtree(gone, ignore_errors=True))

    # -- copies

    async def persist(self, name: str, path: str | None) -> str:
        """Writes a copy of the index to a folder within the storage; returns the folder as it was named.

        Raises NoSuchIndex, PathRefused, OSError.
        """
        index = self.get(name)
        shown, folder = confined(self.settings.storage, path, name)
        contents, end = await index.contents()
        header = index.folder.header

        def write() -> None:
            self._disk.make_folder(folder)
            write_whole(self._disk, folder / PERSISTED_FILE, snapshot_pieces(header, contents, end))

        await self._in_thread(write)
        return shown

    async def load(self, name: str, path: str | None, *, overwrite: bool) -> str:
        """Makes an index of this name of a copy. Raises IndexExists, PathRefused, FileNotFoundError, IndexDamaged."""
        shown, folder = confined(self.settings.storage, path, name)
        if name in self._indexes and not overwrite:
            raise IndexExists(f"Index '{name}' already exists. Use overwrite=true to replace it.")
        file = folder / PERSISTED_FILE
        whole = await self._in_thread(lambda: read_snapshot(file) if file.is_file() else None)
        if whole is None:
            if not folder.is_dir():
                raise FileNotFoundError(f"Path does not exist: {shown}")
            raise IndexDamaged(f"{shown}: there is no whole {PERSISTED_FILE} in it, as POST /persist writes it")
        old, contents, end = whole
        if fault := self._misfit(old):
            raise IndexUnusable(fault)
        async with self._opening:
            if (before := self._indexes.get(name)) is not None and not overwrite:
                raise IndexExists(f"Index '{name}' already exists. Use overwrite=true to replace it.")
            if before is None:
                self._check_quota()
            await self._adopt(name, contents, end, before)
        return shown

    async def _adopt(self, name: str, contents: Sequence[Content], end: End, before: Index | None) -> None:
        header = self._header(name)
        folder = await self._in_thread(
            lambda: IndexFolder.create_from(self._root / header.uid, header, contents, end, self._disk)
        )
        index = await self._open(folder, contents, end.next_number, is_copy=True)
        if before is not None:
            await self._retire(before)
        self._indexes[name] = index

    # -- life

    async def open_all(self) -> None:
        """Opens what is on disk. An index that cannot be opened is reported, and does not stop the others."""
        await self._in_thread(lambda: self._disk.make_folder(self._root))
        found: list[tuple[IndexFolder, list[Content], int]] = []
        for path in await self._in_thread(lambda: [one for one in self._root.iterdir() if one.is_dir()]):
            if path.suffix in (".tmp", ".deleted"):
                await self._in_thread(partial(shutil.rmtree, path, ignore_errors=True))
                continue
            try:
                found.append(await self._in_thread(partial(IndexFolder.recover, path, self._disk)))
            except (IndexDamaged, OSError) as error:
                structlog.get_logger().error(Event.INDEX_UNUSABLE, path=str(path), reason=str(error))
        for folder, contents, number in sorted(found, key=lambda one: one[0].header.created):
            await self._open_found(folder, contents, number)

    async def _open_found(self, folder: IndexFolder, contents: Sequence[Content], next_number: int) -> None:
        name = folder.header.name
        fault = self._misfit(folder.header)
        if not fault and (older := self._indexes.pop(name, None)) is not None:
            # A crash came between the loading of a copy and the retiring of what it replaced.
            structlog.get_logger().warning(
                Event.INDEX_UNUSABLE, path=str(older.folder.path), reason="replaced by a copy"
            )
            await older.close()
        if fault:
            structlog.get_logger().error(Event.INDEX_UNUSABLE, index=name, path=str(folder.path), reason=fault)
            if name not in self._indexes:
                self.unusable[name] = fault
            folder.close()
            return
        self._indexes[name] = await self._open(folder, contents, next_number)

    def _misfit(self, header: Header) -> str:
        if header.dimensions == self.embedding.dimensions:
            return ""
        return (
            f"index {header.name!r} holds vectors of {header.dimensions} dimensions made by {header.model!r}; this "
            f"service embeds with {self.embedding.model!r}, {self.embedding.dimensions} dimensions. Configure the "
            "model that it was made with, or delete it and index its documents again."
        )

    async def _open(
        self, folder: IndexFolder, contents: Sequence[Content], next_number: int, *, is_copy: bool = False
    ) -> Index:
        store = await self._make_store(folder.header.uid, folder.header.dimensions)
        settings = self.settings
        index = Index(folder, store, self.embedding, self.threads, settings.limits, settings.snapshot_log_bytes)
        await index.restore(contents, next_number, is_copy=is_copy)
        count = index.reading.generation.document_count
        structlog.get_logger().info(Event.INDEX_OPENED, index=index.name, documents=count)
        return index

    async def close(self) -> None:
        for index in self._indexes.values():
            await index.close()
        self.threads.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)
