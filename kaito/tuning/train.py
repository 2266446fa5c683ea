"""One tuning run, from configuration to adapter."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import structlog
import torch
import transformers
from peft import LoraConfig
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

from kaito.clock import Clock
from kaito.logs import Event
from kaito.tuning.arguments import build_lora, build_training
from kaito.tuning.config import TuningConfig, check_method
from kaito.tuning.dataset import Split, digest_of, find_files, load_split
from kaito.tuning.errors import ConfigError, Stopped
from kaito.tuning.failures import understand
from kaito.tuning.folder import OutputFolder, write_whole
from kaito.tuning.metrics import TuningMetrics
from kaito.tuning.model import load_model
from kaito.tuning.progress import ProgressCallback
from kaito.tuning.stop import StopSignal
from kaito.tuning.targets import beside_text, choose_targets

log: structlog.stdlib.BoundLogger = structlog.get_logger("kaito.tuning")


@dataclass(frozen=True, slots=True)
class Run:
    """What is tuned, on what, to where. `weights` is what is loaded, `model_name` what the adapter will name."""

    config: TuningConfig
    method: str
    model_name: str
    weights: str
    data_dir: Path
    output_dir: Path
    is_terminal: bool = False

    @property
    def is_writer(self) -> bool:
        return os.environ.get("RANK", "0") == "0"


def check(run: Run) -> None:
    """Everything that can be known without the weights. Raises ConfigError."""
    _quieten(run.is_terminal)
    _prepare(run, find_files(run.config.dataset, run.data_dir))


def tune(run: Run, metrics: TuningMetrics, *, stop: StopSignal, now: Clock) -> None:
    """Trains and writes the adapter; returns at once where the same run has already completed.

    Raises ConfigError, ResourceError, Stopped.
    """
    _quieten(run.is_terminal)
    files = find_files(run.config.dataset, run.data_dir)
    folder = OutputFolder(run.output_dir)
    with _understood(run, None):
        mark = fingerprint(run, digest_of(files))
        if run.is_writer:
            folder.open_run(mark)
        if folder.is_completed(mark):
            log.info(Event.TUNING_COMPLETED, output=str(run.output_dir), note="an earlier attempt had finished")
            return
        lora, args, split = _prepare(run, files)
        model, tokenizer = load_model(run.config, run.weights)
        _check_chat(split, tokenizer)
    lora.target_modules = choose_targets(model, lora.target_modules)
    lora.exclude_modules = lora.exclude_modules or beside_text(model)
    with _understood(run, args):
        set_seed(args.seed)
        trainer = SFTTrainer(
            model=model,
            args=args,
            train_dataset=split.train,
            eval_dataset=split.evaluation,
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=[ProgressCallback(folder, metrics, stop=stop, now=now)],
        )
        _train(trainer, folder, stop)
        _evaluate(trainer)
        _write(run, folder, trainer, tokenizer, now)


def _prepare(run: Run, files: list[tuple[Path, str]]) -> tuple[LoraConfig, SFTConfig, Split]:
    """The keys before the rows, and both before the weights: what is wrong is told in seconds."""
    check_method(run.config, run.method)
    lora = build_lora(run.config)
    has_evaluation = run.config.dataset.train_test_split < 1
    args = build_training(run.config, run.output_dir, has_evaluation=has_evaluation, is_terminal=run.is_terminal)
    split = load_split(run.config.dataset, files)
    if run.is_writer:
        _tell_rows(split, files)
    return lora, args, split


def _train(trainer: SFTTrainer, folder: OutputFolder, stop: StopSignal) -> None:
    """All steps, from the newest checkpoint on. Raises Stopped."""
    trainer.remove_callback(PrinterCallback)  # our lines stand for its prints
    trainer.accelerator.wait_for_everyone()  # rank 0 has cleared the folder by now
    checkpoint = folder.checkpoints()[-1:]
    if checkpoint:
        log.info(Event.TUNING_RESUMED, step=checkpoint[0][0], checkpoint=str(checkpoint[0][1]))
    trainer.train(resume_from_checkpoint=str(checkpoint[0][1]) if checkpoint else None)
    if stop.is_set and trainer.state.global_step < trainer.state.max_steps:
        _leave_group()
        raise Stopped(f"told to stop after step {trainer.state.global_step}; a checkpoint holds the work")


def fingerprint(run: Run, data_digest: str) -> str:
    """Equal for two runs that would do the same steps."""
    parts = [run.config.model_dump(mode="json", by_alias=True), run.method, run.model_name, data_digest]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _evaluate(trainer: SFTTrainer) -> None:
    """The loss on what was held back, unless the last step has just been evaluated."""
    if trainer.eval_dataset is None:
        return
    told = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    if not told or told[-1].get("step") != trainer.state.global_step:
        trainer.evaluate()


def _write(run: Run, folder: OutputFolder, trainer: SFTTrainer, tokenizer: Any, now: Clock) -> None:
    """Rank 0 alone: adapter, then the checkpoints that nobody asked for go, then the marker."""
    trainer.accelerator.wait_for_everyone()
    if run.is_writer:
        adapter = trainer.accelerator.unwrap_model(trainer.model)
        adapter.save_pretrained(str(run.output_dir))
        _name_base(run.output_dir / "adapter_config.json", run.model_name)
        if run.config.model.chat_template:
            (run.output_dir / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8")
        if "save_strategy" not in run.config.training:
            folder.remove_checkpoints()
        folder.complete(now())
        told = trainer.state.log_history
        losses = {key: entry[key] for entry in told for key in ("loss", "eval_loss") if key in entry}
        log.info(Event.TUNING_COMPLETED, output=str(run.output_dir), step=trainer.state.global_step, **losses)
    trainer.accelerator.wait_for_everyone()
    _leave_group()


def _leave_group() -> None:
    """Ends the group of processes in order, where there is one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _name_base(path: Path, name: str) -> None:
    """The adapter names its base as the hub does, not the folder that it lay in here.

    Not told to peft before it saves: it would ask the hub about that name.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    write_whole(path, json.dumps(config | {"base_model_name_or_path": name}, indent=2, sort_keys=True) + "\n")


def _tell_rows(split: Split, files: list[tuple[Path, str]]) -> None:
    log.info(
        Event.DATASET_LOADED,
        form=split.form.kind,
        files=len(files),
        train_rows=len(split.train),
        eval_rows=len(split.evaluation) if split.evaluation is not None else 0,
    )


def _check_chat(split: Split, tokenizer: Any) -> None:
    first = split.train[0]
    is_chat = any(isinstance(first.get(column), list) for column in ("messages", "prompt"))
    if is_chat and not tokenizer.chat_template:
        raise ConfigError(
            "the rows are chats, and the model's tokenizer has no chat template: set ModelConfig.chat_template, "
            "or use prompt and completion texts"
        )


@contextmanager
def _understood(run: Run, args: Any | None) -> Iterator[None]:
    """Turns memory and disk that run out into a ResourceError with the remedy."""
    try:
        yield
    except Exception as error:
        is_quantized = run.config.quantization.is_on
        found = understand(error, args, output_dir=run.output_dir, is_quantized=is_quantized)
        if found is not None:
            raise found from error
        raise


def _quieten(is_terminal: bool) -> None:
    """Progress bars are for people; a pod's log gets our lines."""
    transformers.logging.set_verbosity_warning()
    # A key that is deprecated in favour of another still works.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\b")
    if not is_terminal:
        datasets.disable_progress_bars()
        transformers.logging.disable_progress_bar()
