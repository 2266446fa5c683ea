"""Our server over the fake engine."""

from __future__ import annotations

import asyncio
import sys
from time import monotonic

import uvloop

from benchmarks.fake_generator import FakeGenerator
from kaito.inference.app import App
from kaito.inference.progress import StartProgress
from kaito.inference.server import listen
from kaito.inference.serving import TokenServing
from kaito.inference.settings import ModelSettings, ServerSettings
from kaito.logs import set_up_logs
from kaito.web.memory import settle_memory


async def main(step_s: float) -> None:
    set_up_logs("json", "warning")
    settings = ServerSettings(host="127.0.0.1", port=0, model=ModelSettings(served_names=("fake",)))
    app = App(settings, StartProgress(monotonic))
    app.state.open(TokenServing(FakeGenerator(step_s=step_s), settings.model))
    settle_memory()
    runner = await listen(app, settings)
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(float(sys.argv[1])))
