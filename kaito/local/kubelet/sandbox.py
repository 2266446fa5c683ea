"""A pod's folder: its volumes, logs and working directories; and the paths that its containers see.

A local process has no mount namespace: where the spec says `/mnt/config`, the process is told the folder under the
pod's sandbox instead, in its command, its arguments and its environment.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kaito.api.meta import Json
from kaito.local.kubelet.environment import ConfigError, ReadReference, field_value
from kaito.local.kubelet.references import references_of_volume

PID_FILE = "pid"
PARENT_PARTS_MIN = 3  # /mnt/adapter, but not /mnt: that would be taken for a part of other words
TERMINATION_PATH = "/dev/termination-log"


@dataclass(frozen=True, slots=True)
class Mount:
    path: str  # as the container names it
    target: Path  # where it is


@dataclass(frozen=True, slots=True)
class Roots:
    """Where things live that outlast a pod: `machines` hostPath volumes, `claims` persistent volumes."""

    pods: Path
    machines: Path
    claims: Path


class Sandbox:
    """The folder of one pod, by its uid."""

    def __init__(self, roots: Roots, pod: Json) -> None:
        self._roots = roots
        self._pod = pod
        meta = pod["metadata"]
        self.path = roots.pods / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
        self._volumes: dict[str, Path] = {}

    def make(self) -> None:
        for name in ("volumes", "containers", "tmp", "home"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def container_dir(self, container: str) -> Path:
        path = self.path / "containers" / container
        path.mkdir(parents=True, exist_ok=True)
        return path

    def forget_logs(self, container: str, *, before: int) -> None:
        """Keeps the log of the run and of the one before it."""
        for path in self.container_dir(container).glob("*.log*"):
            if path.name.partition(".")[0].isdecimal() and int(path.name.partition(".")[0]) < before:
                path.unlink(missing_ok=True)

    def note_process(self, container: str, pid: int) -> None:
        """Leaves the process group's number, for whoever has to clear up after a kubelet that was killed."""
        (self.container_dir(container) / PID_FILE).write_text(str(pid))

    def log_path(self, container: str, run: int) -> Path:
        return self.container_dir(container) / f"{run}.log"

    async def make_volumes(self, read: ReadReference, address: str) -> None:
        """Creates every volume of the pod. Raises ConfigError for one that cannot be made."""
        for volume in self._pod["spec"].get("volumes") or []:
            self._volumes[volume["name"]] = await self._make_volume(volume, read, address)

    async def _make_volume(self, volume: Json, read: ReadReference, address: str) -> Path:
        path = self.path / "volumes" / _safe(volume["name"])
        if host := volume.get("hostPath"):
            path = self._roots.machines / _safe(self._pod["spec"]["nodeName"]) / str(host["path"]).lstrip("/")
        elif claim := volume.get("persistentVolumeClaim"):
            namespace = self._pod["metadata"]["namespace"]
            path = self._roots.claims / _safe(namespace) / _safe(claim["claimName"])
        path.mkdir(parents=True, exist_ok=True)
        for name, data in (await self._files(volume, read, address)).items():
            _write(path / name, data)
        return path

    async def _files(self, volume: Json, read: ReadReference, address: str) -> dict[str, bytes]:
        """What is in the volume from the start, by path."""
        plain = {key: value for key, value in volume.items() if key != "projected"}
        # In a projected volume a Secret is called by `name`, elsewhere by `secretName`.
        sources = [(plain, plain)] + [
            (source, {"projected": {"sources": [source]}})
            for source in (volume.get("projected") or {}).get("sources") or []
        ]
        files: dict[str, bytes] = {}
        for source, holder in sources:
            for item in (source.get("downwardAPI") or {}).get("items") or []:
                files[item["path"]] = _downward(item, self._pod, address)
            chosen = source.get("configMap") or source.get("secret")
            for reference in references_of_volume(holder):
                values = await read(reference)
                if values is None and not reference.is_optional:
                    raise ConfigError(f'{reference.kind} "{reference.name}" not found')
                files |= _chosen(values or {}, (chosen or {}).get("items"))
        return files

    def mounts(self, container: Json) -> list[Mount]:
        """The container's mounts and its termination log. Raises ConfigError for a volume that there is not."""
        mounts = []
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in self._volumes:
                raise ConfigError(f"volumeMounts: the pod has no volume {mount['name']!r}")
            target = self._volumes[mount["name"]] / (mount.get("subPath") or "").lstrip("/")
            mounts.append(Mount(mount["mountPath"].rstrip("/") or "/", target))
        words = Mount(container.get("terminationMessagePath") or TERMINATION_PATH, self.words_path(container))
        return [*mounts, *self._parents(container["name"], mounts), words]

    def _parents(self, container: str, mounts: list[Mount]) -> list[Mount]:
        """The folders that hold mounts and are none themselves, as folders of links: a server may list its adapters."""
        paths = {mount.path for mount in mounts}
        root = self.container_dir(container) / "root"
        found: dict[str, Mount] = {}
        for mount in mounts:
            parent = PurePosixPath(mount.path).parent
            if len(parent.parts) < PARENT_PARTS_MIN or any(str(p) in paths for p in (parent, *parent.parents)):
                continue
            folder = root / str(parent).lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            link = folder / PurePosixPath(mount.path).name
            link.unlink(missing_ok=True)
            link.symlink_to(mount.target)
            found[str(parent)] = Mount(str(parent), folder)
        return list(found.values())

    def words_path(self, container: Json) -> Path:
        """Where the container leaves its last words."""
        return self.container_dir(container["name"]) / "termination-log"


def rewrite(text: str, mounts: list[Mount]) -> str:
    """The text with every mounted path replaced by where it is; the longest path wins, and only whole paths count."""
    targets = {mount.path: str(mount.target) for mount in mounts if mount.path != "/"}
    if not targets:
        return text
    paths = "|".join(re.escape(path) for path in sorted(targets, key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w./-])(?:{paths})(?![\w.-])")
    return pattern.sub(lambda found: targets[found[0]], text)


def rewrite_all(values: Mapping[str, str], mounts: list[Mount]) -> dict[str, str]:
    return {name: rewrite(value, mounts) for name, value in values.items()}


def _downward(item: Json, pod: Json, address: str) -> bytes:
    path = (item.get("fieldRef") or {}).get("fieldPath") or ""
    if path in ("metadata.labels", "metadata.annotations"):
        values = pod["metadata"].get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items())).encode()
    return field_value(path, pod, address).encode()


def _chosen(values: Mapping[str, bytes], items: list[Json] | None) -> dict[str, bytes]:
    if items is None:
        return dict(values)
    missing = [item["key"] for item in items if item["key"] not in values]
    if missing:
        raise ConfigError(f"references non-existent config key: {missing[0]}")
    return {item["path"]: values[item["key"]] for item in items}


def _safe(name: str) -> str:
    """A name as one part of a path. Raises ConfigError for one that would leave its folder."""
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise ConfigError(f"not a name: {name!r}")
    return name


def _write(path: Path, data: bytes) -> None:
    if ".." in path.parts:
        raise ConfigError(f"not a path within its volume: {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(data)
