"""Adding a model is one row: with nothing else touched it is listed, estimated, validated, planned and served."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from kaito.api.workloads import STATEFUL_SET
from kaito.cli import run
from kaito.local.cluster import architecture_of
from kaito.plan.catalog import find_preset, presets
from kaito.plan.validate import validate
from kaito.settings import PlanSettings
from tests.builders import World, workspace
from tests.model_hub import CONFIG
from tests.unit.plan.test_workspace import Life

GIB = 1 << 30
CATALOGUE = Path(__file__).parents[3] / "kaito" / "plan" / "catalog" / "models.csv"


@pytest.fixture
def with_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """A catalogue with one row more, as `kaito preset generate` made it of a folder. Yields the row."""
    folder = tmp_path / "Brand-New-7B"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(15 * GIB)  # sparse
    assert run(["preset", "generate", str(folder)]) == 0
    _header, row = capsys.readouterr().out.splitlines()
    row = row.replace("Brand-New-7B", "acme/Brand-New-7B").removesuffix(",,,") + ",hermes,,"
    (tmp_path / "models.csv").write_text(CATALOGUE.read_text() + row + "\n")
    module = sys.modules["kaito.plan.catalog.presets"]
    caches = (presets, module._by_short_name)  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "files", lambda _package: SimpleNamespace(joinpath=lambda name: tmp_path / name))
    for cache in caches:
        cache.cache_clear()
    yield row
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


def test_one_row_is_all_that_a_model_needs(with_a_row: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(presets()) == 61
    found = find_preset("brand-new-7b")
    assert found is not None and found.model_id == "acme/Brand-New-7B" and found.weights_gib == 15.0

    assert run(["preset", "list"]) == 0 and "acme/Brand-New-7B" in capsys.readouterr().out
    assert run(["preset", "show", "brand-new-7b"]) == 0 and "Phi3ForCausalLM" in capsys.readouterr().out
    assert run(["estimate", "brand-new-7b", "Standard_NV36ads_A10_v5"]) == 0
    assert "15.00 GiB of weights" in capsys.readouterr().out

    made = workspace(preset="Brand-New-7B")
    assert validate(made, None, World(), PlanSettings()) == ()
    (tmp_path / "ws.yaml").write_text(yaml.safe_dump(made))
    assert run(["plan", "-f", str(tmp_path / "ws.yaml"), "--offline"]) == 2
    assert "--tool-call-parser=hermes" in capsys.readouterr().out

    life = Life(preset="brand-new-7b")
    life.serve()
    (container,) = life.world.bodies[STATEFUL_SET.ref("default", "phi")]["spec"]["template"]["spec"]["containers"]
    flags = {"--model=acme/Brand-New-7B", "--served-model-name=brand-new-7b", "--tool-call-parser=hermes"}
    assert flags <= set(container["command"]) and life.status["state"] == "Ready"
    assert architecture_of("acme/Brand-New-7B") == "Phi3ForCausalLM", "the local cluster serves a tiny one of it"
