"""`python -m benchmarks.footprint`: how soon `kaito operator` is imported, and what it weighs with nothing to do.

Idle: the real process on an API server without a single Workspace, everything listed and watched. Beside it, in the
same run, an interpreter that has imported kubernetes-asyncio as its documentation says. MB are of resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys

from benchmarks.reaction import running

ROUNDS = 5
SCRIPT = """
import re, time
began_s, cpu_s = time.perf_counter(), time.process_time()
import {module}
wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
print(wall_s, cpu_s, *re.findall(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read()))
"""


def imported(module: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and MB of a fresh interpreter that imports the module: medians."""
    rounds = []
    for _ in range(ROUNDS):
        script = SCRIPT.format(module=module)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
        wall_s, cpu_s, kib = map(float, done.stdout.split())
        rounds.append((wall_s, cpu_s, kib / 1024))
    wall_s, cpu_s, mb = map(statistics.median, zip(*rounds, strict=True))
    return wall_s, cpu_s, mb


async def idle_mb() -> float:
    async with running(0) as scene:
        return scene.rss_mb()


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__).parse_args()
    wall_s, cpu_s, mb = imported("kaito.cli.operator")
    peer_wall_s, _, peer_mb = imported("kubernetes_asyncio")
    idle = asyncio.run(idle_mb())
    print(f"kaito.cli.operator: imported in {wall_s:.2f} s ({cpu_s:.2f} s of CPU), {mb:.0f} MB; idle {idle:.0f} MB")
    print(f"kubernetes_asyncio: imported in {peer_wall_s:.2f} s, {peer_mb:.0f} MB")
    result = {"import_s": round(wall_s, 2), "import_cpu_s": round(cpu_s, 2), "rss_imported_mb": round(mb, 1)}
    result |= {"rss_idle_mb": round(idle, 1), "import_s_kubernetes_asyncio": round(peer_wall_s, 2)}
    print(json.dumps(result | {"rss_kubernetes_asyncio_mb": round(peer_mb, 1)}))


if __name__ == "__main__":
    main()
