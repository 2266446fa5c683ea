"""`kaito preset generate ORG/MODEL | DIR`: the catalogue's row of a model, from the hub or from a folder."""

from __future__ import annotations

import csv
import io
import json
import os
from importlib.resources import files
from pathlib import Path

import anyio

from kaito.hub.client import HubClient
from kaito.hub.endpoint import endpoint_of_environment
from kaito.hub.errors import HubError
from kaito.hub.model import preset_of
from kaito.plan.catalog import Preset


def generate(source: str) -> Preset:
    """Raises HubError, and ValueError for a folder without a readable config.json."""
    return _of_folder(Path(source)) if Path(source).is_dir() else anyio.run(_of_hub, source, backend="asyncio")


def row_of(preset: Preset) -> str:
    """The row for models.csv, under the header that the catalogue has."""
    text = files("kaito.plan.catalog").joinpath("models.csv").read_text(encoding="utf-8")
    header = next(csv.reader(text.splitlines()))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerow([getattr(preset, name, "") or "" for name in header])
    return out.getvalue()


async def _of_hub(model_id: str) -> Preset:
    endpoint = endpoint_of_environment()
    if not endpoint:
        raise ValueError(f"HF_HUB_OFFLINE is set: unset it, or name the folder of {model_id}")
    async with HubClient(endpoint, os.environ.get("HF_TOKEN", "")) as client:
        return (await client.find(model_id)).preset


def _of_folder(folder: Path) -> Preset:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}; expected a model's folder with its config.json") from error
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    return preset_of(folder.resolve().name, config, sizes)


__all__ = ["HubError", "generate", "row_of"]
