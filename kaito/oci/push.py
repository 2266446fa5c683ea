"""Files of a folder as an image with them under /data."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from kaito.oci.errors import ImageError, ImageRejected
from kaito.oci.registry import (
    MANIFEST,
    Client,
    Layer,
    image_name,
    sha256_of,
    with_credentials,
    words_of,
)

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DATA_PREFIX = "data"
MODEL_ANNOTATION = "sh.kaito.model.name"


def push(
    text: str, folder: Path, files: Sequence[Path], auth_files: Iterable[Path], *, annotations: Mapping[str, str]
) -> str:
    """An image with these files of the folder under /data; returns its digest. Raises ImageError, OSError."""
    image = image_name(text)
    if image.digest:
        raise ImageRejected(f"{image}: an image is pushed under a tag, not a digest")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".push-") as scratch:
        packed = Path(scratch, "layer.tar.gz")
        layer, diff_id = _pack(folder, files, packed)
        config = Path(scratch, "config.json")
        config.write_text(
            json.dumps(
                {
                    "architecture": "amd64",
                    "os": "linux",
                    "config": {},
                    "rootfs": {"type": "layers", "diff_ids": [diff_id]},
                },
                sort_keys=True,
            )
        )
        described = Layer(_digest(config), config.stat().st_size, CONFIG)

        def upload(client: Client) -> str:
            _upload(client, layer, packed)
            _upload(client, described, config)
            return _put_manifest(client, layer, described, annotations)

        return with_credentials(image, auth_files, "push", upload)


def _pack(root: Path, files: Sequence[Path], packed: Path) -> tuple[Layer, str]:
    """The layer and the digest of its tar. The same files give the same bytes."""
    inner = hashlib.sha256()
    # Weights do not shrink: the fastest level costs nothing in size.
    with packed.open("wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as zipped:
        sink: Any = _Tee(zipped, inner)  # a stream needs `write` alone
        with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            folder = tarfile.TarInfo(DATA_PREFIX)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
            for path in sorted(files):
                entry = tarfile.TarInfo(f"{DATA_PREFIX}/{path.relative_to(root)}")
                entry.size, entry.mode = path.stat().st_size, 0o644
                with path.open("rb") as file:
                    archive.addfile(entry, file)
    return Layer(_digest(packed), packed.stat().st_size, LAYER), f"sha256:{inner.hexdigest()}"


@dataclass(slots=True)
class _Tee:
    """Writes to a file and into a hash."""

    file: gzip.GzipFile
    digest: Any

    def write(self, chunk: bytes) -> int:
        self.digest.update(chunk)
        return self.file.write(chunk)


def _upload(client: Client, layer: Layer, path: Path) -> None:
    """Streams one blob, unless the registry has it."""
    if client.do_request(f"{client.base}/blobs/{layer.digest}", "HEAD").status_code == 200:
        return
    started = client.do_request(f"{client.base}/blobs/uploads/", "POST", headers={"Content-Length": "0"})
    if started.status_code != 202:
        raise ImageError(f"{client.image}: no upload can be started: status {started.status_code} {words_of(started)}")
    target = urljoin(started.url, started.headers["Location"])
    target += ("&" if urlsplit(target).query else "?") + f"digest={layer.digest}"
    headers = {"Content-Type": "application/octet-stream", **client.auth.get_auth_header()}
    try:
        with path.open("rb") as file:
            ended = client.session.request("PUT", target, data=file, headers=headers)
    except requests.RequestException as error:
        raise ImageError(f"{client.image}: the upload of {layer.size} bytes broke off: {error}") from error
    if ended.status_code != 201:
        raise ImageError(f"{client.image}: the upload was not taken: status {ended.status_code} {words_of(ended)}")


def _put_manifest(client: Client, layer: Layer, config: Layer, annotations: Mapping[str, str]) -> str:
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(config),
        "layers": [_descriptor(layer)],
        "annotations": dict(annotations),
    }
    body = json.dumps(manifest, sort_keys=True).encode()
    url = f"{client.base}/manifests/{client.image.reference}"
    answer = client.do_request(url, "PUT", data=body, headers={"Content-Type": MANIFEST})
    if answer.status_code not in (200, 201):
        raise ImageError(f"{client.image}: the manifest was not taken: {answer.status_code} {words_of(answer)}")
    return sha256_of(body)


def _descriptor(layer: Layer) -> dict[str, Any]:
    return {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
