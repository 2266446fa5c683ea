"""Where a model's weights are: a folder, the hub, or made here."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from kaito.inference.engine import EngineError, Progress, Report
from kaito.inference.engines.download import DownloadWatch
from kaito.inference.settings import ModelSettings

# What a download leaves out: the same weights in formats that nothing here reads.
IGNORED = ["original/*", "metal/*", "*.pth", "*.gguf", "*.onnx", "onnx/*", "consolidated*", "*.msgpack", "*.h5", "*.ot"]
HUB_PROBE_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Located:
    """A folder with config.json. `note` is for the model card; it says so where the weights are random."""

    path: Path
    root: str
    note: str = ""


def locate(settings: ModelSettings, report: Report) -> Located:
    """Finds, downloads or makes the weights. Raises EngineError with the remedy."""
    if settings.weights_dir:
        return _folder(Path(settings.weights_dir), settings.model or settings.weights_dir)
    if not settings.model:
        raise EngineError("--model is missing: a folder with config.json, or a model id of the hub")
    if Path(settings.model).is_dir():
        return _folder(Path(settings.model), settings.model)
    if cached := _cached(settings):
        return Located(cached, settings.model)
    if settings.tiny_dir and not _hub_answers():
        return _tiny(settings, report)
    return Located(_download(settings, report), settings.model)


def _folder(path: Path, root: str) -> Located:
    if not (path / "config.json").is_file():
        raise EngineError(
            f"{path} has no config.json: expected a model in the hub's layout (config, tokenizer, weights)"
        )
    return Located(path, root)


def _cached(settings: ModelSettings) -> Path | None:
    try:
        return Path(_snapshot(settings, local_files_only=True))
    except (LocalEntryNotFoundError, ValueError, OSError):
        return None


def _download(settings: ModelSettings, report: Report) -> Path:
    report(Progress("downloading"))
    try:
        with DownloadWatch(settings.model, settings.revision, settings.download_dir, report):
            return Path(_snapshot(settings, local_files_only=False))
    except RepositoryNotFoundError as error:
        raise EngineError(
            f"the hub has no model {settings.model!r}, or it is gated: check --model, and HF_TOKEN for gated models"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise EngineError(
            f"{settings.model} cannot be downloaded ({type(error).__name__}: {error}): "
            "give a folder as --model, set KAITO_WEIGHTS_DIR, or make the hub (HF_ENDPOINT) reachable"
        ) from error


def _snapshot(settings: ModelSettings, *, local_files_only: bool) -> str:
    path: str = snapshot_download(
        settings.model,
        revision=settings.revision,
        cache_dir=settings.download_dir or None,
        ignore_patterns=IGNORED,
        local_files_only=local_files_only,
    )
    return path


def _tiny(settings: ModelSettings, report: Report) -> Located:
    from kaito.inference.engines.tiny import make_tiny

    report(Progress("making a tiny model"))
    path = Path(settings.tiny_dir)
    return Located(path, settings.model, make_tiny(path, settings.tiny_architecture))


def _hub_answers() -> bool:
    """Whether a connection to the hub (or to the proxy before it) can be opened at all."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or ""
    url = urlsplit(proxy or os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = url.port or (80 if url.scheme == "http" else 443)
    try:
        with socket.create_connection((url.hostname or "huggingface.co", port), timeout=HUB_PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False
