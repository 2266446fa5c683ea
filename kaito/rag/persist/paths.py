"""Where copies of indexes may lie: within the storage folder, and nowhere else, whatever a client names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

LIVE_FOLDER = ".kaito"  # the indexes' own folders; no client reaches in
PERSISTED_FILE = "index.kaito"


class PathRefused(ValueError):
    """The path leads out of the storage folder."""


def folder_name(name: str) -> str:
    """A file name for any index name, its own, and never hidden nor a way up."""
    quoted = quote(name, safe=" ")
    if quoted.startswith("."):
        quoted = "%2E" + quoted[1:]
    return quoted if len(quoted) <= 200 else f"{quoted[:100]}-{hashlib.sha256(name.encode()).hexdigest()}"


def confined(storage: Path, path: str | None, name: str) -> tuple[str, Path]:
    """(the folder as it is shown, where it is). Without a path, or with the storage folder itself, one named after the
    index. A path is relative to the storage folder; the storage folder's own path may stand before it. Raises
    PathRefused.
    """
    default = os.path.normpath(storage)
    if path is None or os.path.normpath(path) == default:
        shown = os.path.join(path if path is not None else default, name)
        return shown, storage / folder_name(name)
    if "\0" in path or not path.strip():
        raise PathRefused(f"path={path!r}: expected the name of a folder")
    root = storage.resolve()
    wanted = Path(path)
    inside = Path(os.path.abspath(wanted))
    target = inside if inside.is_relative_to(os.path.abspath(storage)) else Path(os.path.normpath(root / wanted))
    real = target.resolve()
    if not real.is_relative_to(root) or real == root or real.is_relative_to(root / LIVE_FOLDER):
        raise PathRefused(
            f"path={path!r} is not within the storage folder {default!r} (DEFAULT_VECTOR_DB_PERSIST_DIR): "
            "name a folder below it, or leave it out"
        )
    return path, real
