"""What every `Engine` made of a model in memory answers alike."""

from __future__ import annotations

from time import time

from kaito.inference.generation import LoadedModel
from kaito.inference.metrics import TokenMetrics
from kaito.inference.settings import ModelSettings
from kaito.web.openai.models import ModelCard


class ModelFace:
    """A loaded model under the names that it is served by."""

    def __init__(self, model: LoadedModel, settings: ModelSettings) -> None:
        self._model = model
        self._created = int(time())
        self._served = settings.served_names or (settings.model or model.info.root,)
        self._metrics = TokenMetrics(self._served[0], model.count)

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def slots(self) -> int:
        return self._model.slots

    @property
    def fault(self) -> str:
        return self._model.fault

    async def stop(self) -> None:
        await self._model.stop()

    def exposition(self) -> bytes:
        return self._metrics.exposition()

    def models(self) -> list[ModelCard]:
        info = self._model.info
        return [
            ModelCard(
                id=name,
                created=self._created,
                root=info.root,
                max_model_len=info.context_tokens,
                description=info.description or None,
            )
            for name in self._served
        ]
