"""What a model server is told about where its weights come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Architecture = Callable[[str], str]


def flag_value(command: list[str], flag: str) -> str:
    """The value of `--flag=value` or `--flag value`, the last one as in argparse; empty where there is none."""
    value = ""
    for index, word in enumerate(command):
        if word == flag and index + 1 < len(command):
            value = command[index + 1]
        elif word.startswith(flag + "="):
            value = word.partition("=")[2]
    return value


def weights_folder(weights: Path | None, model: str) -> Path | None:
    """The folder of a model's weights: `weights` itself, or the one of the model's name in it."""
    if weights is None:
        return None
    candidates = [weights / model, weights / model.rpartition("/")[2], weights]
    return next((folder for folder in candidates if (folder / "config.json").is_file()), None)


def model_environment(
    command: list[str], sandbox: Path, *, weights: Path | None, architecture_of: Architecture
) -> dict[str, str]:
    """Variables for a command with a `--model` flag; none for any other."""
    model = flag_value(command, "--model")
    if not model:
        return {}
    if folder := weights_folder(weights, model):
        return {"KAITO_WEIGHTS_DIR": str(folder)}
    architecture = architecture_of(model)
    return {
        "KAITO_TINY_DIR": str(sandbox / "tiny"),
        **({"KAITO_TINY_ARCHITECTURE": architecture} if architecture else {}),
    }
