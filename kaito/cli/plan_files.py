"""The files of `kaito plan`: every document with the place that it came from."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kaito.api.core import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, SECRET
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.state.kinds import KINDS

FILE_BYTES_MAX = 4 << 20
SUFFIXES = (".yaml", ".yml", ".json")
ROOT_KINDS: dict[str, ResourceKind] = {row.kind.kind: row.kind for row in KINDS if row.is_root}
BESIDE_KINDS: dict[str, ResourceKind] = {kind.kind: kind for kind in (CONFIG_MAP, SECRET, PERSISTENT_VOLUME_CLAIM)}
SERVED_VERSIONS = ("v1beta1", "v1alpha1")


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file, its namespace filled in. `source`: file and number, for messages."""

    source: str
    kind: ResourceKind
    body: Json

    @property
    def ref(self) -> ObjectRef:
        return self.kind.ref(self.body["metadata"]["namespace"], self.body["metadata"]["name"])

    @property
    def is_root(self) -> bool:
        return self.kind.kind in ROOT_KINDS


def read_documents(names: Sequence[str], namespace: str) -> tuple[list[Document], list[str]]:
    """What there is to plan, in order, and warnings about what is left out. `-` is standard input, a folder all of its
    YAML and JSON files. Raises ValueError with a line for everything that cannot be read.
    """
    documents: list[Document] = []
    warnings: list[str] = []
    wrong: list[str] = []
    for source, content in _contents(names, wrong):
        try:
            found = document_of(source, content, namespace)
        except ValueError as error:
            wrong.append(str(error))
            continue
        if found is None:
            what = f"{content['kind']} {content['metadata']['name']}"
            known = ", ".join((*ROOT_KINDS, *BESIDE_KINDS))
            warnings.append(f"{source}: {what} is left out: what is planned is {known}")
        elif twin := next((each for each in documents if each.ref == found.ref), None):
            wrong.append(f"{source}: {found.ref} is in {twin.source} already")
        else:
            documents.append(found)
    if not wrong and not any(document.is_root for document in documents):
        wrong.append(f"no {' or '.join(ROOT_KINDS)} in {', '.join(names)}")
    if wrong:
        raise ValueError("\n".join(wrong))
    return documents, warnings


def document_of(source: str, content: Any, namespace: str = "default") -> Document | None:
    """None for a kind that is not planned. Raises ValueError that names what is missing."""
    if not isinstance(content, dict) or not isinstance(content.get("metadata"), dict):
        raise ValueError(f"{source}: expected a Kubernetes object with kind and metadata")
    metadata, kind, version = content["metadata"], content.get("kind"), content.get("apiVersion")
    if not metadata.get("name"):
        raise ValueError(f"{source}: metadata.name is missing: give the object a name")
    if not isinstance(kind, str) or not isinstance(version, str):
        raise ValueError(f"{source}: kind or apiVersion is missing: a Workspace is of apiVersion kaito.sh/v1beta1")
    group, _, name = version.rpartition("/")
    known = ROOT_KINDS.get(kind) if group == "kaito.sh" else BESIDE_KINDS.get(kind) if version == "v1" else None
    if known is None:
        return None
    if known.group and name not in SERVED_VERSIONS:
        raise ValueError(f"{source}: apiVersion: {version!r} is not served; write kaito.sh/{known.version}")
    filled = metadata | {"namespace": str(metadata.get("namespace") or namespace), "name": str(metadata["name"])}
    return Document(source, known, content | {"metadata": filled})


def _contents(names: Iterable[str], wrong: list[str]) -> Iterator[tuple[str, Any]]:
    """Every document with its place; the items of a List are documents. What cannot be read is added to `wrong`."""
    for name in names:
        for path in _paths(name, wrong):
            try:
                found = [one for one in yaml.load_all(_text(path), _Loader) if one is not None]
            except ValueError as error:
                wrong.append(str(error))
                continue
            except yaml.YAMLError as error:
                wrong.append(f"{path} is not YAML: {error}")
                continue
            for number, document in enumerate(found, start=1):
                source = f"{path}, document {number}"
                if isinstance(document, dict) and document.get("kind") == "List":
                    items = document.get("items") or []
                    yield from ((f"{source}, item {index}", item) for index, item in enumerate(items, start=1))
                else:
                    yield source, document


def _paths(name: str, wrong: list[str]) -> list[str]:
    folder = Path(name)
    if name == "-" or not folder.is_dir():
        return [name]
    found = sorted(str(path) for path in folder.iterdir() if path.suffix in SUFFIXES)
    if not found:
        wrong.append(f"{name}: no file in it ends with {', '.join(SUFFIXES)}")
    return found


def _text(path: str) -> str:
    try:
        if path == "-":
            text = sys.stdin.read(FILE_BYTES_MAX + 1)
        else:
            with Path(path).open() as file:
                text = file.read(FILE_BYTES_MAX + 1)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    if len(text) > FILE_BYTES_MAX:
        raise ValueError(f"{path}: more than {FILE_BYTES_MAX >> 20} MiB")
    return text


# libyaml's loader where PyYAML was built with it: ten times as fast.
_Fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Fast):  # type: ignore[misc]
    """As kubectl reads YAML: what looks like a date is text."""


_Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))
