"""SimulatedHub: a model hub on virtual time, that can be down: then it refuses, or it keeps its callers waiting."""

from __future__ import annotations

from random import Random

import anyio

from kaito.hub.client import TIMEOUT_S
from kaito.hub.errors import HubUnreachable, ModelMissing
from kaito.hub.model import HubModel, preset_of
from tests.model_hub import CONFIG, SIZES


class SimulatedHub:
    """`asked_s`: when it was asked, in anyio's seconds."""

    def __init__(self, rng: Random, *models: str) -> None:
        self._rng = rng
        self.models = set(models)
        self.is_down = False
        self.asked_s: list[float] = []

    async def find(self, model_id: str, token: str = "") -> HubModel:
        self.asked_s.append(anyio.current_time())
        if self.is_down:
            await anyio.sleep(self._rng.choice([0, TIMEOUT_S]))
            raise HubUnreachable("https://huggingface.co does not answer: connection refused")
        await anyio.sleep(self._rng.uniform(0.1, 2))
        if model_id not in self.models:
            raise ModelMissing(f"{model_id} is not on the hub, or is private")
        return HubModel(preset_of(model_id, CONFIG, SIZES))
