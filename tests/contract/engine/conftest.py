"""One engine after another behind the real server on a loopback port, and the official client in front of it.

An engine is opened as the server opens it. vLLM joins where it is installed; transformers' `generate` on the same
checkpoint says what greedy output must be.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import openai
import pytest
import pytest_asyncio

pytest.importorskip("transformers")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from kaito.inference.app import App
from kaito.inference.engine import Engine
from kaito.inference.engines.opening import open_engine
from kaito.inference.engines.tiny import make_tiny
from kaito.inference.progress import StartProgress
from kaito.inference.server import listen
from kaito.inference.settings import Limits, ModelSettings, ServerSettings

NAME = "tiny"
ENGINES = ["transformers", "transformers-cohorts", *(["vllm"] if importlib.util.find_spec("vllm") else [])]
# The same in vLLM's words. Its steps are not compiled: a tiny model is not worth the minute.
VLLM_ARGS = (
    f"--served-model-name={NAME}", "--max-num-seqs=8", "--max-model-len=1024", "--dtype=float32", "--enforce-eager",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    client: openai.AsyncOpenAI
    app: App
    engine: Engine
    checkpoint: Path

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = self.engine.exposition().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))


class Reference:
    """transformers itself, without any of ours."""

    def __init__(self, checkpoint: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def greedy(self, prompt: list[int], tokens_max: int, **arguments: Any) -> list[int]:
        ids = torch.tensor([prompt])
        eos = {"eos_token_id": None} if arguments.pop("ignores_eos", False) else {}
        out = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens_max, **eos, **arguments
        )
        return [int(token) for token in out[0, len(prompt) :]]

    def logprobs(self, tokens: list[int]) -> torch.Tensor:
        """[tokens, vocabulary]: row i is what follows tokens[:i + 1]."""
        with torch.inference_mode():
            return torch.log_softmax(self.model(torch.tensor([tokens])).logits[0].float(), dim=-1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "phi3"
    make_tiny(folder, "Phi3ForCausalLM")
    return folder


@pytest.fixture(scope="session")
def reference(checkpoint: Path) -> Reference:
    return Reference(checkpoint)


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=ENGINES)
async def served(request: pytest.FixtureRequest, checkpoint: Path) -> AsyncIterator[Served]:
    settings = ServerSettings(
        engine=request.param.partition("-")[0],
        host="127.0.0.1",
        port=0,
        model=ModelSettings(
            model=str(checkpoint),
            served_names=(NAME,),
            slots_max=8,
            kv_cache_bytes=16 << 20,
            context_tokens=1024,
            batching="cohorts" if request.param.endswith("cohorts") else "auto",
        ),
        engine_args=VLLM_ARGS,
        limits=Limits(queue_max=64),
    )
    async with serving(settings, checkpoint) as found:
        yield found


class serving:
    """The server, in this process, for the length of the block."""

    def __init__(self, settings: ServerSettings, checkpoint: Path) -> None:
        self._settings, self._checkpoint = settings, checkpoint

    async def __aenter__(self) -> Served:
        progress = StartProgress(monotonic)
        app = App(self._settings, progress)
        self._runner = await listen(app, self._settings)
        self._engine = await open_engine(self._settings, progress.report)
        app.state.open(self._engine)
        host, port = self._runner.addresses[0][:2]
        url = f"http://{host}:{port}"
        self._client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)
        return Served(url, self._client, app, self._engine, self._checkpoint)

    async def __aexit__(self, *exception: object) -> None:
        await self._client.close()
        await self._engine.stop()
        await self._runner.cleanup()
