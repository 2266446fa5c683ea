"""`python -m benchmarks.serving`: what the HTTP face costs, beside FastAPI and beside a bare protocol.

The same fake engine is behind (a) our server, (b) FastAPI on uvicorn with uvloop and httptools, (c) an asyncio protocol
that does nothing but write the bytes. Each runs in a process of its own, in turns, several rounds; medians are printed.
CPU is the server process's, user and system. At the end: what the server takes of a real engine's throughput.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import uvloop

from benchmarks.engine_overhead import Load, engine_overhead
from benchmarks.serving_load import run

SERVERS = {"ours": "benchmarks.peers.ours", "fastapi": "benchmarks.peers.fastapi_app", "bare": "benchmarks.peers.bare"}
CHUNKS = 500
SMALL_CONNECTIONS, SMALL_TIMES = 16, 400
PACE_S = 0.005  # of the engine while the first chunk's latency is measured
PROBES = 300


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def serving(name: str, step_s: float = 0.0) -> Iterator[Server]:
    command = [sys.executable, "-m", SERVERS[name], str(step_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()), psutil.Process(process.pid))
    finally:
        process.kill()
        process.wait()


async def streams(server: Server, count: int, turns: int) -> dict[str, float]:
    """Tokens a second and CPU a token with `count` streams side by side."""
    await run(server.port, connections=count, times=1, tokens=20, stream=True)  # warm
    begun = server.cpu_s()
    seconds, _ = await run(server.port, connections=count, times=turns, tokens=CHUNKS, stream=True)
    cpu_s, tokens = server.cpu_s() - begun, count * turns * CHUNKS
    return {"tokens_per_s": tokens / seconds, "us_per_token": cpu_s / tokens * 1e6, "tokens_per_cpu_s": tokens / cpu_s}


async def small(server: Server) -> dict[str, float]:
    """Requests of one token that are not streamed."""
    await run(server.port, connections=SMALL_CONNECTIONS, times=10, tokens=1, stream=False)
    begun = server.cpu_s()
    seconds, _ = await run(server.port, connections=SMALL_CONNECTIONS, times=SMALL_TIMES, tokens=1, stream=False)
    requests = SMALL_CONNECTIONS * SMALL_TIMES
    return {"rps": requests / seconds, "us_per_request": (server.cpu_s() - begun) / requests * 1e6}


async def first_chunk(name: str) -> float:
    """p99 in ms from request to first content while 32 paced streams run; the engine answers at its next step."""
    with serving(name, PACE_S) as server:
        background = asyncio.create_task(run(server.port, connections=32, times=1, tokens=3000, stream=True))
        _, readers = await run(server.port, connections=1, times=PROBES, tokens=1, stream=True)
        background.cancel()
    return statistics.quantiles(readers[0].first_s, n=100)[98] * 1e3


async def measure(rounds: int) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {name: {} for name in SERVERS}
    for _ in range(rounds):
        for name, figures in found.items():
            with serving(name) as server:
                for count, turns in ((32, 6), (256, 1)):
                    for key, value in (await streams(server, count, turns)).items():
                        figures.setdefault(f"{key}_{count}", []).append(value)
                for key, value in (await small(server)).items():
                    figures.setdefault(key, []).append(value)
                figures.setdefault("rss_mb", []).append(server.process.memory_info().rss / 1e6)
            figures.setdefault("first_chunk_p99_ms", []).append(await first_chunk(name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds; the median counts (default: 3)")
    arguments = parser.parse_args()
    found = uvloop.run(measure(arguments.rounds))
    medians = {
        name: {key: statistics.median(values) for key, values in figures.items()} for name, figures in found.items()
    }
    keys = list(medians["ours"])
    print(f"{'':24}" + "".join(f"{name:>12}" for name in medians) + f"{'/ fastapi':>12}{'/ bare':>12}")
    for key in keys:
        row = [medians[name][key] for name in medians]
        print(f"{key:24}" + "".join(f"{v:>12,.1f}" for v in row) + f"{row[0] / row[1]:>12.2f}{row[0] / row[2]:>12.2f}")
    ours, fastapi, bare = medians["ours"], medians["fastapi"], medians["bare"]
    last = {
        "tokens_per_cpu_s": round(ours["tokens_per_cpu_s_32"]),
        "tokens_per_cpu_s_fastapi": round(fastapi["tokens_per_cpu_s_32"]),
        "tokens_per_cpu_s_bare": round(bare["tokens_per_cpu_s_32"]),
        "tokens_per_cpu_s_256": round(ours["tokens_per_cpu_s_256"]),
        "tokens_per_cpu_s_256_fastapi": round(fastapi["tokens_per_cpu_s_256"]),
        "tokens_per_cpu_s_256_bare": round(bare["tokens_per_cpu_s_256"]),
        "small_rps": round(ours["rps"]),
        "small_rps_fastapi": round(fastapi["rps"]),
        "us_per_request": round(ours["us_per_request"], 1),
        "us_per_request_fastapi": round(fastapi["us_per_request"], 1),
        "first_chunk_p99_ms": round(ours["first_chunk_p99_ms"], 2),
        "rss_mb": round(ours["rss_mb"], 1),
        **uvloop.run(engine_overhead(arguments.rounds, Load())),
    }
    print(json.dumps(last))


if __name__ == "__main__":
    main()
