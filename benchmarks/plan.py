"""`python -m benchmarks.plan`: how soon `kaito plan` answers without a cluster, once it is imported.

A fresh interpreter each round: its first plan (nothing is cached yet), then one of fifty Workspaces at once. Beside it,
in the same run, what the import of kubernetes-asyncio takes, with which a plan by its typed models would begin.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.footprint import imported

ROUNDS, MANY = 7, 50
QUICK_START = Path(__file__).parents[1] / "examples" / "quickstart" / "workspace-phi-3.5-mini.yaml"
SCRIPT = f"""
import contextlib, io, pathlib, sys, tempfile, time
began_s = time.perf_counter()
from kaito.cli import run
import kaito.cli.plan
imported_s = time.perf_counter()
def timed(path):
    began_s = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(["plan", "-f", path]) == 2, path
    return time.perf_counter() - began_s
first_s = timed(sys.argv[1])
with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
    text = pathlib.Path(sys.argv[1]).read_text()
    file.write("\\n---\\n".join(text.replace("name: ", f"name: w{{n}}-", 1) for n in range({MANY})))
    file.flush()
    many_s = timed(file.name)
print(imported_s - began_s, first_s, many_s)
"""


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.plan", description=__doc__).parse_args()
    rounds = []
    for _ in range(ROUNDS):
        command = [sys.executable, "-c", SCRIPT, str(QUICK_START)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        rounds.append(tuple(map(float, done.stdout.split())))
    import_s, first_s, many_s = map(statistics.median, zip(*rounds, strict=True))
    peer_s, _, _ = imported("kubernetes_asyncio")
    print(f"kaito plan: imported in {import_s:.2f} s, first plan {first_s * 1e3:.0f} ms, {MANY} at once {many_s:.2f} s")
    result = {"import_s": round(import_s, 3), "first_plan_ms": round(first_s * 1e3, 1)}
    result |= {"plan_ms_of_many": round(many_s * 1e3 / MANY, 1), "import_s_kubernetes_asyncio": round(peer_s, 3)}
    print(json.dumps(result | {"first_plan_to_peer_import": round(first_s / peer_s, 2)}))


if __name__ == "__main__":
    main()
