"""python -m kaito.tuning: trains an adapter as a configuration says."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from kaito.clock import wall_clock
from kaito.logs import Event, set_up_logs
from kaito.tuning.config import METHODS, TuningConfig, load_config
from kaito.tuning.errors import EXIT_FAILED, ConfigError, Stopped, TuningError
from kaito.tuning.folder import OutputFolder
from kaito.tuning.launch import launch
from kaito.tuning.stop import StopSignal

TEMPLATES = Path(__file__).parent / "templates"
DATA_DIR = Path("/mnt/data")
OUTPUT_DIR = Path("/mnt/output")
METRICS_PORT = 5000
WORDS_BYTES_MAX = 4096  # what a kubelet keeps of a termination message


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m kaito.tuning", description="Fine-tune a model with LoRA or QLoRA.")
    add = found.add_argument
    source = found.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, metavar="FILE", help="training_config.yaml; see docs/tuning/config.md")
    source.add_argument("--template", choices=METHODS, help="the built-in configuration of a method")
    add("--method", choices=("lora", "qlora"), help="as in the Workspace; follows from QuantizationConfig if absent")
    add("--model", help="folder or org/model, over ModelConfig.pretrained_model_name_or_path")
    add("--data-dir", type=Path, default=DATA_DIR, help=f"where the data files are (default {DATA_DIR})")
    add("--output-dir", type=Path, help=f"over TrainingArguments.output_dir (default {OUTPUT_DIR})")
    add("--processes", type=int, default=1, metavar="N", help="one a GPU (default 1)")
    add("--metrics-address", metavar="[HOST]:PORT", help=f"Prometheus page; '' for none (default :{METRICS_PORT})")
    add("--termination-log", type=Path, metavar="FILE", help="where the reason of a failure goes as well")
    add("--check", action="store_true", help="check configuration and data, and train nothing")
    add("--log-format", choices=("auto", "console", "json"), default="auto", help="default: console on a terminal")
    return found


def main(argv: Sequence[str]) -> int:
    """Runs to the end; returns the exit status (see `kaito.tuning.errors`)."""
    args = parser().parse_args(argv)
    set_up_logs(args.log_format)
    stop = StopSignal()
    signal.signal(signal.SIGTERM, stop)
    output_dir: Path | None = args.output_dir
    try:
        config = load_config(args.config or TEMPLATES / f"{args.template}.yaml")
        output_dir = output_dir or Path(str(config.training.get("output_dir") or OUTPUT_DIR))
        if args.processes > 1 and "RANK" not in os.environ:
            return launch(argv, args.processes)
        _run(args, config, output_dir, stop)
    except Exception as error:
        return _report(error, output_dir, args.termination_log)
    return 0


def _run(args: argparse.Namespace, config: TuningConfig, output_dir: Path, stop: StopSignal) -> None:
    # torch and its friends take seconds to import: only now, when the file has been found good.
    from kaito.tuning.metrics import TuningMetrics, serve_metrics
    from kaito.tuning.train import Run, check, tune

    name = args.model or config.model.pretrained_model_name_or_path
    run = Run(
        config,
        args.method or ("qlora" if config.quantization.is_on else "lora"),
        model_name=name,
        weights=_weights(name),
        data_dir=args.data_dir,
        output_dir=output_dir,
        is_terminal=sys.stderr.isatty(),
    )
    if args.check:
        check(run)
        return
    metrics = TuningMetrics()
    address = args.metrics_address if args.metrics_address is not None else _metrics_address()
    with serve_metrics(metrics, address if run.is_writer else ""):
        tune(run, metrics, stop=stop, now=wall_clock)


def _weights(name: str) -> str:
    """Where the model's weights are: a folder that the local cluster names stands for a model of the hub."""
    return os.environ.get("KAITO_WEIGHTS_DIR") or name


def _metrics_address() -> str:
    host, port = os.environ.get("KAITO_BIND_ADDRESS", ""), os.environ.get("KAITO_BIND_PORT", str(METRICS_PORT))
    return f"{host}:{port}"


def _report(error: Exception, output_dir: Path | None, termination_log: Path | None) -> int:
    """Tells why it ended: in the log, in the output folder for the pusher, and as the container's last words."""
    log = structlog.get_logger("kaito.tuning")
    is_understood = isinstance(error, TuningError)
    words = str(error) if is_understood else f"{type(error).__name__}: {error}"
    # What is wrong with the configuration every process finds; what befalls one of them, it alone can tell.
    is_teller = os.environ.get("RANK", "0") == "0" or not isinstance(error, ConfigError)
    status = error.exit_status if isinstance(error, TuningError) else EXIT_FAILED
    if isinstance(error, Stopped):
        log.info(Event.TUNING_STOPPED, note=words)
        if output_dir is not None and output_dir.is_dir() and os.environ.get("RANK", "0") == "0":
            OutputFolder(output_dir).stop(wall_clock())
        return status
    if is_teller:
        log.error(Event.TUNING_FAILED, error=words, exc_info=None if is_understood else error)
    if is_teller:
        try:
            if output_dir is not None and output_dir.is_dir():
                OutputFolder(output_dir).fail(type(error).__name__, words, status, wall_clock())
            if termination_log is not None:
                termination_log.write_text(words.encode()[:WORDS_BYTES_MAX].decode(errors="ignore"), encoding="utf-8")
        except OSError as trouble:  # a full disk: the log has it
            log.warning(Event.TUNING_FAILED, error=f"the reason could not be written down: {trouble}")
        print(f"kaito.tuning: {words}", file=sys.stderr)  # noqa: T201 (the last line of the log, for people)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
