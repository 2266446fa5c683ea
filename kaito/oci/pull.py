"""What lies in an image, or an artifact's files, into a folder: checked, bounded, nothing outside of it."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import requests

from kaito.images import ImageName
from kaito.oci.errors import ImageAbsent, ImageError, ImageRejected
from kaito.oci.registry import MANIFEST, Client, Layer, image_name, sha256_of, with_credentials

ACCEPTED = (
    MANIFEST,
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
TITLE = "org.opencontainers.image.title"
MANIFEST_BYTES_MAX = 4 << 20
FILES_MAX = 100_000
CHUNK_BYTES = 1 << 20


def pull(text: str, folder: Path, auth_files: Iterable[Path], *, path: str, bytes_max: int) -> list[Path]:
    """What the image holds under `path` (empty: all of it), or an artifact's files, into the folder. Raises ImageError.

    The folder gets all of it or, after an error, whatever had come; it is complete only when this returns.
    """
    image = image_name(text)
    client, manifest = with_credentials(image, auth_files, "pull", lambda it: (it, _manifest(it, image.reference)))
    layers = [_layer(entry) for entry in manifest.get("layers") or []]
    total = sum(layer.size for layer in layers)
    if total > bytes_max:
        raise ImageRejected(f"{image}: {total} bytes packed, and {bytes_max} are the limit")
    folder.mkdir(parents=True, exist_ok=True)
    budget = _Budget(image, bytes_max)
    for layer in layers:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".layer-") as file:
            _fetch_blob(client, layer, file)
            if layer.title and "tar" not in layer.media_type:
                _place(Path(file.name), folder, layer.title)
            else:
                _unpack(file, folder, path.strip("/"), budget)
    found = sorted(each for each in folder.rglob("*") if each.is_file() and not each.name.startswith(".layer-"))
    if not found:
        raise ImageRejected(f"{image}: nothing under /{path} in the image: put the files there")
    return found


def _manifest(client: Client, reference: str, depth: int = 0) -> dict[str, Any]:
    """The manifest for this reference; of an index, the one for Linux. A digest that was asked for is checked."""
    response = client.do_request(f"{client.base}/manifests/{reference}", headers={"Accept": ", ".join(ACCEPTED)})
    if response.status_code != 200:
        raise ImageAbsent(f"{client.image}: not found in the registry (status {response.status_code})")
    if len(response.content) > MANIFEST_BYTES_MAX:
        raise ImageRejected(f"{client.image}: a manifest of more than {MANIFEST_BYTES_MAX} bytes")
    if reference.startswith("sha256:") and sha256_of(response.content) != reference:
        raise ImageError(f"{client.image}: the manifest is not the one of {reference}: the registry is broken")
    try:
        manifest: dict[str, Any] = response.json()
    except ValueError as error:
        raise ImageError(f"{client.image}: the manifest is not JSON: {error}") from error
    if "manifests" not in manifest:
        return manifest
    entries = [entry for entry in manifest["manifests"] if _is_for_us(entry)]
    if not entries or depth:
        raise ImageRejected(f"{client.image}: no image for linux/amd64 in its index")
    return _manifest(client, str(entries[0]["digest"]), depth + 1)


def _is_for_us(entry: Mapping[str, Any]) -> bool:
    platform = entry.get("platform") or {}
    return platform.get("os", "linux") == "linux" and platform.get("architecture", "amd64") in ("amd64", "")


def _layer(entry: Mapping[str, Any]) -> Layer:
    title = str((entry.get("annotations") or {}).get(TITLE, ""))
    return Layer(str(entry["digest"]), int(entry["size"]), str(entry.get("mediaType", "")), title)


def _fetch_blob(client: Client, layer: Layer, file: IO[bytes]) -> None:
    response = client.do_request(f"{client.base}/blobs/{layer.digest}", stream=True)
    if response.status_code != 200:
        raise ImageError(f"{client.image}: layer {layer.digest}: status {response.status_code}")
    found, size = hashlib.sha256(), 0
    try:
        for chunk in response.iter_content(CHUNK_BYTES):
            size += len(chunk)
            if size > layer.size:
                break
            found.update(chunk)
            file.write(chunk)
    except requests.RequestException as error:
        raise ImageError(f"{client.image}: layer {layer.digest} broke off after {size} bytes: {error}") from error
    file.flush()
    if size != layer.size or f"sha256:{found.hexdigest()}" != layer.digest:
        raise ImageError(f"{client.image}: layer {layer.digest} came broken: {size} bytes, expected {layer.size}")


@dataclass(slots=True)
class _Budget:
    """What may still be unpacked: a small layer can hold a large file."""

    image: ImageName
    bytes_left: int
    files_left: int = FILES_MAX

    def take(self, size: int) -> None:
        self.bytes_left -= size
        self.files_left -= 1
        if self.bytes_left < 0 or self.files_left < 0:
            raise ImageRejected(f"{self.image}: unpacks to more than the limit of bytes or of {FILES_MAX} files")


def _unpack(file: IO[bytes], folder: Path, path: str, budget: _Budget) -> None:
    """Members under the path without that part; a whiteout removes what an earlier layer brought."""
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:*") as archive:
            for member in archive:
                name = _below(path, member.name)
                if not name:
                    continue
                if Path(name).name.startswith(".wh."):
                    _white_out(folder, name)
                    continue
                if not (member.isfile() or member.isdir()):
                    continue  # neither links nor devices are data
                budget.take(member.size)
                archive.extract(member.replace(name=name, deep=False), folder, filter="data")
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise ImageRejected(f"{budget.image}: a layer cannot be unpacked: {error}") from error
    except OSError as error:
        raise ImageError(f"{budget.image}: cannot be unpacked to {folder}: {error}") from error


def _below(path: str, name: str) -> str:
    """The member's name from the path on; empty where it lies elsewhere, or would."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    above = [part for part in path.split("/") if part]
    if ".." in parts or len(parts) <= len(above) or parts[: len(above)] != above:
        return ""
    return "/".join(parts[len(above) :])


def _white_out(folder: Path, name: str) -> None:
    target = folder / Path(name).parent / Path(name).name.removeprefix(".wh.")
    if target.is_file():
        target.unlink()


def _place(source: Path, folder: Path, title: str) -> None:
    target = folder / Path(title).name
    shutil.copyfile(source, target)
    target.chmod(0o644)
