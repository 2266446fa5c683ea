"""Memory and disk that run out: what happened, and what to change in this run's own configuration."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from typing import Any

from kaito.tuning.errors import ResourceError

OUT_OF_MEMORY = re.compile(r"out of memory|not enough memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED", re.I)
# The last three are how torch's writer of checkpoints tells that a write came short.
DISK_FULL = re.compile(
    r"no space left on device|disk quota exceeded|os error 28|PytorchStreamWriter|iostream error|unexpected pos \d+ vs",
    re.I,
)
GIB = 1 << 30


def understand(error: BaseException, args: Any | None, *, output_dir: Path, is_quantized: bool) -> ResourceError | None:
    """The error as one of resources, with the remedy; None for any other. `args`: the SFTConfig, once there is one."""
    if is_disk_full(error):
        return ResourceError(_disk_words(error, output_dir, args))
    if is_out_of_memory(error):
        return ResourceError(_memory_words(error, args, is_quantized=is_quantized))
    return None


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
        return isinstance(error, MemoryError) or bool(OUT_OF_MEMORY.search(str(error)))
    return isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(str(error)))


def is_disk_full(error: BaseException) -> bool:
    """Whether the error, or what it came of, is a disk that takes no more."""
    cause: BaseException | None = error
    while cause is not None:
        is_errno = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if is_errno or DISK_FULL.search(str(cause)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _memory_words(error: BaseException, args: Any | None, *, is_quantized: bool) -> str:
    is_gpu = "CUDA" in str(error) or type(error).__name__ == "OutOfMemoryError"
    what = "GPU memory ran out" if is_gpu else "memory ran out"
    if args is None:
        size = "" if is_quantized else ", or use method qlora"
        return f"{what} while the model was loaded: choose an instance type with more{size} ({_first(error)})"
    steps: list[str] = []
    batch, length = args.per_device_train_batch_size, args.max_length
    if batch > 1:
        half = batch // 2
        twice = args.gradient_accumulation_steps * -(-batch // half)
        steps.append(f"per_device_train_batch_size {half} (now {batch}) with gradient_accumulation_steps {twice}")
    if not args.gradient_checkpointing:
        steps.append("gradient_checkpointing true")
    steps.append(f"a smaller max_length (now {length})" if length else "a max_length (now none)")
    if not is_quantized:
        steps.append("method qlora")
    return f"{what}: in TrainingArguments try {', or '.join(steps)}, or use a larger instance type ({_first(error)})"


def _disk_words(error: BaseException, output_dir: Path, args: Any | None) -> str:
    free = ""
    if output_dir.exists():
        usage = shutil.disk_usage(output_dir)
        free = f" ({usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB are free)"
    keep = f" (now {args.save_total_limit})" if args is not None else ""
    return (
        f"the disk of {output_dir} is full{free}: give the output a larger volume, or keep fewer checkpoints with "
        f"TrainingArguments.save_total_limit{keep} or a larger save_steps ({_first(error)})"
    )


def _first(error: BaseException) -> str:
    """The first line of what the library said, short."""
    words = str(error).strip().splitlines() or [type(error).__name__]
    return words[0][:160]
