from __future__ import annotations

import errno
import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from kaito.tuning.failures import understand
from kaito.tuning.folder import OutputFolder

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    for step, state in ((5, {"global_step": 5}), (10, {"global_step": 10}), (15, None), (20, {"global_step": 3})):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "checkpoint-25").mkdir()
    (tmp_path / "checkpoint-25" / "trainer_state.json").write_text('{"global_step": 2')  # cut short by a kill
    assert [step for step, _ in OutputFolder(tmp_path).checkpoints()] == [5, 10]


def test_a_folder_of_another_run_is_cleared_and_its_own_is_kept(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "out")
    folder.open_run("one")
    (folder.path / "adapter_model.safetensors").write_bytes(b"x")
    (folder.path / "checkpoint-5").mkdir()
    folder.append_progress({"step": 1})
    folder.complete(NOW)
    folder.open_run("one")
    assert folder.is_completed("one") and not folder.is_completed("two") and folder.progress() == [{"step": 1}]
    folder.open_run("two")
    assert sorted(path.name for path in folder.path.iterdir()) == ["training_run.json"]


def test_a_failure_is_forgotten_by_the_next_attempt(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    folder.open_run("one")
    folder.fail("ConfigError", "bad row", 2, NOW)
    assert folder.failure() == "bad row"
    folder.open_run("one")
    assert folder.failure() == ""


def test_a_line_of_progress_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    folder.append_progress({"step": 1})
    with (tmp_path / "training_progress.jsonl").open("a") as file:
        file.write('{"step":')
    assert folder.progress() == [{"step": 1}]


ARGS = SimpleNamespace(
    per_device_train_batch_size=8,
    gradient_accumulation_steps=2,
    gradient_checkpointing=False,
    max_length=1024,
    save_total_limit=2,
)


@pytest.mark.parametrize(
    ("error", "is_quantized", "words"),
    [
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            False,
            "GPU memory ran out: in TrainingArguments try per_device_train_batch_size 4 (now 8) with "
            "gradient_accumulation_steps 4, or gradient_checkpointing true, or a smaller max_length (now 1024), or "
            "method qlora",
        ),
        (MemoryError(), True, "memory ran out: in TrainingArguments try per_device_train_batch_size 4"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"), False, "memory ran out: "),
        (OSError(errno.ENOSPC, "No space left on device"), False, "is full"),
        (
            RuntimeError("PytorchStreamWriter failed writing file data/0"),
            False,
            "TrainingArguments.save_total_limit (now 2)",
        ),
    ],
)
def test_what_ran_out_is_told_with_what_to_change(
    error: Exception, is_quantized: bool, words: str, tmp_path: Path
) -> None:
    found = understand(error, ARGS, output_dir=tmp_path, is_quantized=is_quantized)
    assert found is not None and words in str(found)
    assert is_quantized is False or "qlora" not in str(found)


def test_a_write_that_came_short_is_a_full_disk_whatever_torch_makes_of_it(tmp_path: Path) -> None:
    """As seen on a volume of 600 KiB: the second error hides the first."""
    try:
        try:
            raise RuntimeError("basic_ios::clear: iostream error")
        except RuntimeError:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 291264 vs 291156")  # noqa: B904
    except RuntimeError as error:
        found = understand(error, ARGS, output_dir=tmp_path, is_quantized=False)
    assert found is not None and "is full" in str(found)


def test_what_a_full_disk_cut_short_makes_room_for_the_reason(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    for name in ("checkpoint-5", "checkpoint-10"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text('{"global_step": 5}')
    folder.fail("ResourceError", "full", 3, NOW)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-5"]


def test_other_errors_are_not_taken_for_resources(tmp_path: Path) -> None:
    assert understand(ValueError("shape"), ARGS, output_dir=tmp_path, is_quantized=False) is None


def test_memory_that_runs_out_while_loading_asks_for_a_larger_machine(tmp_path: Path) -> None:
    found = understand(MemoryError(), None, output_dir=tmp_path, is_quantized=False)
    assert "while the model was loaded: choose an instance type with more, or use method qlora" in str(found)


def test_a_disk_that_is_really_full_is_understood(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, Path("/dev/full").open("w") as file:
        file.write("x")
        file.flush()
    found = understand(caught.value, ARGS, output_dir=tmp_path, is_quantized=False)
    assert found is not None and "GiB are free" in str(found)
