"""The Dockerfiles: their build steps are what CI runs, and what they start is there."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "manifests" / "images").glob("*.Dockerfile"))
NAMES = [path.stem for path in DOCKERFILES]
PINNED = re.compile(r"python:\d+\.\d+\.\d+-slim-\w+")


def runner() -> ModuleType:
    """CI's own runner of the build steps."""
    spec = importlib.util.spec_from_file_location("clean_install", ROOT / ".ci" / "clean_install.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


CLEAN_INSTALL = runner()


def test_there_is_an_image_for_each_process() -> None:
    assert NAMES == ["inference", "operator", "rag", "tuning"]


@pytest.mark.parametrize("name", NAMES)
def test_ci_carries_out_the_very_steps_of_the_dockerfile(name: str) -> None:
    build = CLEAN_INSTALL.read(name)
    text = " ".join((ROOT / "manifests" / "images" / f"{name}.Dockerfile").read_text().replace("\\\n", " ").split())
    assert build.runs and all(step in text for step in build.runs)
    assert text.count(" RUN ") == len(build.runs)
    assert CLEAN_INSTALL.IMPORTS[name], "what it installs is imported"
    for sources, _ in build.copies:
        assert all((ROOT / source).exists() for source in sources)


def test_ci_leaves_no_image_out() -> None:
    (line,) = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if "clean_install" in line]
    assert line.split() == [".ci/clean_install.py"], "without names it takes all of them"


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_pinned_multi_stage_and_not_root(name: str) -> None:
    found = list(CLEAN_INSTALL.instructions(ROOT / "manifests" / "images" / f"{name}.Dockerfile"))
    bases = [rest.split()[0] for word, rest in found if word == "FROM"]
    assert len(bases) == 2 and all(PINNED.fullmatch(base) for base in bases)
    (user,) = [rest for word, rest in found if word == "USER"]
    assert all(int(part) > 0 for part in user.split(":"))


@pytest.mark.parametrize("name", NAMES)
def test_the_extras_that_an_image_installs_are_declared_and_its_entry_point_is_ours(name: str) -> None:
    build = CLEAN_INSTALL.read(name)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = [re.search(r"'?\.(?:\[([\w,-]+)\])?'?$", step) for step in build.runs]
    assert extras
    assert set((extras[1] or "").split(",")) <= {"", *declared["optional-dependencies"]}
    match build.entrypoint:
        case ("kaito",):
            assert "kaito" in declared["scripts"]
        case ("python", "-m", module):
            assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()
        case other:
            raise AssertionError(other)


def test_a_step_that_ci_cannot_carry_out_stops_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "odd.Dockerfile").write_text("FROM python AS build\nADD a b\nENTRYPOINT []\n")
    monkeypatch.setattr(CLEAN_INSTALL, "IMAGES", tmp_path)
    with pytest.raises(SystemExit, match=r"odd.Dockerfile: ADD a b"):
        CLEAN_INSTALL.read("odd")
