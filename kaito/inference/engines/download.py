"""How far a download is, seen from the files that it writes."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType

from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_CACHE

from kaito.inference.engine import Progress, Report

SAMPLE_S = 2.0
WINDOW = 5  # samples that the rate is taken over


class DownloadWatch:
    """Reports bytes, rate and remaining seconds from a thread of its own while the block runs."""

    def __init__(self, model: str, revision: str | None, download_dir: str, report: Report) -> None:
        self._model, self._revision, self._report = model, revision, report
        self._folder = Path(download_dir or HF_HUB_CACHE) / ("models--" + model.replace("/", "--"))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="download-watch", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        total = self._total()
        samples: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        while not self._ended.wait(SAMPLE_S):
            samples.append((monotonic(), stored_bytes(self._folder)))
            self._report(progress_of(list(samples), total))

    def _total(self) -> int:
        """Bytes of all files, in folders too; 0 where the hub does not say."""
        with suppress(Exception):  # the download itself reports what is wrong
            info = HfApi().model_info(self._model, revision=self._revision, files_metadata=True)
            return sum(file.size or 0 for file in info.siblings or [])
        return 0


def stored_bytes(folder: Path) -> int:
    """Bytes of a repository in the hub's cache: blobs, also those that are not complete."""
    total = 0
    for path in (folder / "blobs").glob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def progress_of(samples: list[tuple[float, int]], total: int) -> Progress:
    """From samples (monotonic seconds, bytes), oldest first."""
    (first_s, first_bytes), (last_s, last_bytes) = samples[0], samples[-1]
    rate = (last_bytes - first_bytes) / (last_s - first_s) if last_s > first_s else 0.0
    remaining_s = max(total - last_bytes, 0) / rate if total and rate > 0 else -1.0
    return Progress("downloading", last_bytes, total, rate, remaining_s)
