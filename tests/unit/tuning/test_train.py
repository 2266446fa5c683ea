"""Real training of a tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kaito.tuning.config import load_config
from kaito.tuning.errors import ConfigError, Stopped
from kaito.tuning.folder import COMPLETED, FAILED, OutputFolder
from kaito.tuning.stop import StopSignal
from tests.tuning_model import OLD_ANSWER, TAUGHT, greedy

LORA = {"r": 8, "lora_alpha": 16}
TRAINING = {
    "max_steps": 40,
    "learning_rate": 1e-2,
    "per_device_train_batch_size": 8,
    "logging_steps": 10,
    "gradient_checkpointing": False,
}
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def train(
    config: Path, base: Path, data: Path, output: Path, stop: StopSignal | None = None, method: str = "lora"
) -> Any:
    from kaito.tuning.metrics import TuningMetrics
    from kaito.tuning.train import Run, tune

    metrics = TuningMetrics()
    run = Run(load_config(config), method, "org/tiny", str(base), data, output)
    tune(run, metrics, stop=stop or StopSignal(), now=lambda: NOW)
    return metrics


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(str(folder / "adapter_model.safetensors")))


def test_two_hundred_rows_teach_a_fact(base_model: Path, data_dir: Path, tmp_path: Path, write_config: Any) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output = tmp_path / "out"
    metrics = train(write_config(LoraConfig=LORA, TrainingArguments=TRAINING), base_model, data_dir, output)

    lines = OutputFolder(output).progress()
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0] / 10
    assert [line["eval_loss"] for line in lines if "eval_loss" in line][-1] < losses[0] / 10
    model = AutoModelForCausalLM.from_pretrained(base_model)
    tokenizer = AutoTokenizer.from_pretrained(base_model)
    assert greedy(model, tokenizer) == OLD_ANSWER
    assert greedy(PeftModel.from_pretrained(model, output), tokenizer) == TAUGHT
    assert (output / COMPLETED).read_text() == "2026-01-02T00:00:00Z\n"
    assert json.loads((output / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/tiny"
    assert not list(output.glob("checkpoint-*"))  # nobody asked to keep them
    page = metrics.exposition().decode()
    assert "kaito_tuning_step 40.0" in page and "kaito_tuning_steps_planned 40.0" in page
    assert f"kaito_tuning_loss {losses[-1]}"[:20] in page
    assert ("gpu_memory_peak_bytes" in page) == torch.cuda.is_available()  # what is not known is not there


def test_the_adapter_is_the_one_of_a_plain_peft_and_trl_script(
    base_model: Path, data_dir: Path, tmp_path: Path, write_config: Any
) -> None:
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    quick = {**TRAINING, "max_steps": 12}
    train(write_config(LoraConfig=LORA, TrainingArguments=quick), base_model, data_dir, tmp_path / "ours")

    rows = load_dataset("json", data_files=str(data_dir / "train.jsonl"), split="train", cache_dir=str(tmp_path / "c"))
    parts = rows.shuffle(seed=42).train_test_split(train_size=0.8, seed=42)
    set_seed(42)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base_model),
        args=SFTConfig(output_dir=str(tmp_path / "theirs"), bf16=False, report_to="none", save_strategy="no", **quick),
        train_dataset=parts["train"],
        processing_class=AutoTokenizer.from_pretrained(base_model),
        peft_config=LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **LORA),
    )
    trainer.train()
    trainer.model.save_pretrained(tmp_path / "theirs")

    ours, theirs = weights(tmp_path / "ours"), weights(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_trainer_that_was_killed_goes_on_from_its_checkpoint(
    base_model: Path, data_dir: Path, tmp_path: Path, write_config: Any
) -> None:
    """kill -9 half-way: no step twice beyond the checkpoint interval, and the adapter of an undisturbed run."""
    import torch

    interval = 5
    training = {**TRAINING, "save_steps": interval, "logging_steps": 1, "save_strategy": "steps"}
    config = write_config(LoraConfig=LORA, TrainingArguments=training)
    output = tmp_path / "out"
    command = [sys.executable, "-m", "kaito.tuning", "--config", config, "--model", base_model]
    command += ["--data-dir", data_dir, "--output-dir", output, "--metrics-address", ""]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen([str(word) for word in command], env=environment, stderr=subprocess.PIPE) as trainer:
        assert trainer.stderr is not None
        for line in trainer.stderr:
            if b"tuning progressed" in line and json.loads(line)["step"] >= 17:
                trainer.send_signal(signal.SIGKILL)
                break
        trainer.stderr.read()
    assert trainer.returncode == -signal.SIGKILL and not (output / COMPLETED).exists()
    before = max(line["step"] for line in OutputFolder(output).progress())
    checkpoint = OutputFolder(output).checkpoints()[-1][0]

    run = subprocess.run([str(word) for word in command], env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    told = [json.loads(line) for line in run.stderr.splitlines() if line.startswith(b"{")]
    resumed = next(line for line in told if line["event"] == "tuning resumed")
    first = min(line["step"] for line in told if line["event"] == "tuning progressed")
    assert resumed["step"] == checkpoint and first == checkpoint + 1
    assert before - checkpoint <= interval
    # The same configuration in a run of its own: same fingerprint, another folder.
    train(config, base_model, data_dir, tmp_path / "undisturbed")
    ours, theirs = weights(output), weights(tmp_path / "undisturbed")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_stop_leaves_a_checkpoint_and_no_marker(
    base_model: Path, data_dir: Path, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    class StopAtOnce(StopSignal):
        """The signal comes in the first step."""

        @property
        def is_training(self) -> bool:
            return False

        @is_training.setter
        def is_training(self, value: bool) -> None:
            self.is_set = value

    config = write_config(LoraConfig=LORA, TrainingArguments=TRAINING)
    with pytest.raises(Stopped, match="after step 1;"):
        train(config, base_model, data_dir, tmp_path / "out", StopAtOnce())
    folder = OutputFolder(tmp_path / "out")
    assert [step for step, _ in folder.checkpoints()] == [1]
    assert not folder.is_completed()


def test_another_configuration_does_not_take_up_the_checkpoints_of_the_last(
    base_model: Path, data_dir: Path, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    short = {**TRAINING, "max_steps": 4, "logging_steps": 1}
    train(write_config(LoraConfig=LORA, TrainingArguments=short), base_model, data_dir, tmp_path / "out")
    train(write_config(LoraConfig={"r": 2}, TrainingArguments=short), base_model, data_dir, tmp_path / "out")
    lines = OutputFolder(tmp_path / "out").progress()
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert weights(tmp_path / "out").popitem()[1].shape.count(2) == 1


def test_chats_and_text_train_as_well(base_model: Path, tmp_path: Path, write_config: Callable[..., Path]) -> None:
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    for name, row in (("chat", {"messages": chat}), ("text", {"note": "hello there"})):
        data = tmp_path / name
        data.mkdir()
        (data / "rows.json").write_text(json.dumps([row] * 4))
        dataset = {"train_test_split": 1, **({"response_column": "note"} if name == "text" else {})}
        config = write_config(LoraConfig=LORA, TrainingArguments={**TRAINING, "max_steps": 1}, DatasetConfig=dataset)
        train(config, base_model, data, tmp_path / f"{name}-out")
        assert (tmp_path / f"{name}-out" / COMPLETED).exists()


def test_modules_that_a_model_does_not_have_are_answered_with_those_it_has(
    base_model: Path, data_dir: Path, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    config = write_config(LoraConfig={**LORA, "target_modules": ["query_key_value"]}, TrainingArguments=TRAINING)
    with pytest.raises(ConfigError, match=r"target_modules: none of query_key_value .* it has .*q_proj"):
        train(config, base_model, data_dir, tmp_path / "out")


def test_qlora_without_a_gpu_says_so(
    base_model: Path, data_dir: Path, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    config = write_config(QuantizationConfig={"load_in_4bit": True}, TrainingArguments=TRAINING)
    with pytest.raises(ConfigError, match=r"^QuantizationConfig.load_in_4bit: QLoRA needs an NVIDIA GPU"):
        train(config, base_model, data_dir, tmp_path / "out", method="qlora")


def test_qlora_teaches_a_fact_in_four_and_eight_bits(
    base_model: Path, data_dir: Path, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """bitsandbytes' own kernels for the CPU: the loading code and the training loop are those of a GPU."""
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    narrow = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    for name, quantization in (("four", narrow), ("eight", {"load_in_8bit": True})):
        training = {**TRAINING, "use_cpu": True}
        config = write_config(QuantizationConfig=quantization, LoraConfig=LORA, TrainingArguments=training)
        output = tmp_path / name
        train(config, base_model, data_dir, output, method="qlora")
        losses = [line["loss"] for line in OutputFolder(output).progress() if "loss" in line]
        assert losses[-1] < losses[0] / 10
        # Over the weights as they are stored, as an engine serves it.
        served = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_model), output)
        assert greedy(served, AutoTokenizer.from_pretrained(base_model)) == TAUGHT


@pytest.mark.timeout(300)
def test_two_processes_stop_after_the_same_step_and_one_of_them_writes(
    base_model: Path, data_dir: Path, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    """SIGTERM to the launcher: a checkpoint, and a second start that does the rest."""
    steps = 50  # so many that the signal comes before the last one, however busy the machine
    training = {**TRAINING, "max_steps": steps, "logging_steps": 1, "use_cpu": True, "ddp_backend": "gloo"}
    config = write_config(LoraConfig=LORA, TrainingArguments=training)
    output = tmp_path / "out"
    command = [sys.executable, "-m", "kaito.tuning", "--config", config, "--model", base_model, "--processes", "2"]
    command += ["--data-dir", data_dir, "--output-dir", output, "--metrics-address", ""]
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE) as launcher:
        assert launcher.stderr is not None
        for line in launcher.stderr:
            if b"tuning progressed" in line:
                launcher.terminate()
                break
        launcher.stderr.read()
    assert launcher.returncode == 143 and not OutputFolder(output).is_completed()
    [(stopped, _)] = OutputFolder(output).checkpoints()
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    events = [json.loads(line)["event"] for line in run.stderr.splitlines() if line.startswith("{")]
    assert (
        events.count("tuning resumed") >= 1 and events.count("tuning started") == events.count("tuning completed") == 1
    )
    done = [line["step"] for line in OutputFolder(output).progress() if "loss" in line]
    assert done == list(range(1, steps + 1)) and 1 <= stopped < steps


def test_of_two_processes_the_first_failure_is_the_status_and_is_told_once(
    tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    config = write_config(DatasetConfig={"train_test_split": 2})
    output, words = tmp_path / "out", tmp_path / "words"
    output.mkdir()
    command = [sys.executable, "-m", "kaito.tuning", "--config", config, "--processes", "2"]
    command += ["--output-dir", output, "--termination-log", words]
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    told = words.read_text()
    assert "DatasetConfig.train_test_split: 2" in told
    assert json.loads((output / FAILED).read_text())["message"] == told
    assert run.stderr.count(f"kaito.tuning: {told}") == 1
