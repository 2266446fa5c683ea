"""The names that a loaded model is served by."""

from __future__ import annotations

from time import time

from kaito.inference.generation import ModelInfo
from kaito.inference.settings import ModelSettings
from kaito.web.openai.models import ModelCard


class Served:
    """`names`: at least one; the first is what answers and metrics call the model."""

    def __init__(self, info: ModelInfo, settings: ModelSettings) -> None:
        self.names = settings.served_names or (settings.model or info.root,)
        self._info, self._created = info, int(time())

    def cards(self) -> list[ModelCard]:
        info = self._info
        return [
            ModelCard(
                id=name,
                created=self._created,
                root=info.root,
                max_model_len=info.context_tokens,
                description=info.description or None,
            )
            for name in self.names
        ]

    def adapter_card(self, name: str, path: str) -> ModelCard:
        return ModelCard(id=name, created=self._created, root=path, parent=self.names[0])
