"""An `Engine` made of an `Embedder`: `/v1/embeddings`, and the tokenizer's two paths beside it."""

from __future__ import annotations

import base64
from time import monotonic
from typing import Any

import msgspec
import numpy as np

from kaito.inference.embedding import Embedder
from kaito.inference.engine import Call, Operation, Reply
from kaito.inference.metrics import TokenMetrics
from kaito.inference.serving.inputs import nothing, texts_or_tokens
from kaito.inference.serving.served import Served
from kaito.inference.serving.tokens import detokenize, tokenize
from kaito.inference.settings import ModelSettings
from kaito.web.openai.chat import ChatRequest
from kaito.web.openai.decode import decode
from kaito.web.openai.embeddings import Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage
from kaito.web.openai.errors import ApiError, invalid, unknown_model
from kaito.web.openai.models import ModelCard

INPUTS_MAX = 2048  # OpenAI's bound
REQUEST = msgspec.json.Decoder(EmbeddingRequest)
OPERATIONS = frozenset({Operation.EMBEDDINGS, Operation.TOKENIZE, Operation.DETOKENIZE})


class EmbeddingServing:
    """OpenAI's face of one embedder."""

    def __init__(self, embedder: Embedder, settings: ModelSettings) -> None:
        self.embedder = embedder
        self._served = Served(embedder.info, settings)
        self._metrics = TokenMetrics(self._served.names[0], embedder.count, embedder.gpu_memory)

    @property
    def name(self) -> str:
        return self.embedder.name

    @property
    def operations(self) -> frozenset[Operation]:
        return OPERATIONS

    @property
    def slots(self) -> int:
        return self.embedder.slots

    @property
    def fault(self) -> str:
        return self.embedder.fault

    async def stop(self) -> None:
        await self.embedder.stop()

    def exposition(self) -> bytes:
        return self._metrics.exposition()

    async def load_adapter(self, name: str, path: str) -> None:
        raise invalid("An embedding model takes no adapters on this engine: merge the adapter into its weights.")

    async def unload_adapter(self, name: str) -> None:
        raise invalid(f"There is no adapter {name!r}: an embedding model takes none on this engine.")

    def models(self) -> list[ModelCard]:
        return self._served.cards()

    async def run(self, operation: Operation, body: bytes, call: Call) -> Reply:
        match operation:
            case Operation.EMBEDDINGS:
                return await self._embeddings(decode(body, REQUEST))
            case Operation.TOKENIZE:
                return tokenize(body, self.embedder.tokenizer, self.embedder.info, _no_chat)
            case Operation.DETOKENIZE:
                return detokenize(body, self.embedder.tokenizer)
            case _:
                raise ApiError(404, f"This model does not do {operation}.", type="NotFoundError")

    async def _embeddings(self, request: EmbeddingRequest) -> bytes:
        begun = monotonic()
        if request.model and request.model not in self._served.names:
            raise unknown_model(request.model, self._served.names)
        width = self._width(request.dimensions)
        inputs = await self._inputs(request)
        vectors = await self.embedder.embed(inputs)
        if width < self.embedder.dimensions:
            vectors = vectors[:, :width]
            if self.embedder.is_normalized:
                vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        tokens = sum(map(len, inputs))
        self._metrics.pooled([len(entry) for entry in inputs], monotonic() - begun)
        shown = _base64 if request.encoding_format == "base64" else _floats
        answer = EmbeddingList(
            data=[Embedding(index=index, embedding=shown(vector)) for index, vector in enumerate(vectors)],
            model=request.model or self._served.names[0],
            usage=EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens),
        )
        return msgspec.json.encode(answer)

    async def _inputs(self, request: EmbeddingRequest) -> list[list[int]]:
        """Token ids of every input, none longer than the model reads. Raises ApiError."""
        context = self.embedder.info.context_tokens
        size = self.embedder.tokenizer.vocabulary_size
        items = texts_or_tokens(request.input, "input", items_max=INPUTS_MAX, vocabulary_size=size)
        keep = _keep(request.truncate_prompt_tokens, context)
        special = request.add_special_tokens is not False
        texts = [item for item in items if isinstance(item, str)]
        encoded = iter(await self.embedder.tokens(texts, add_special_tokens=special, keep=keep) if texts else ())
        found = [next(encoded) if isinstance(item, str) else item[:keep] for item in items]
        for index, tokens in enumerate(found):
            where = "input" if isinstance(request.input, str) else f"input[{index}]"
            if not tokens:
                raise nothing(where, "input")
            if len(tokens) > context:
                raise invalid(
                    f"{where} has {len(tokens)} tokens, and this model reads {context}: shorten it, or set "
                    "truncate_prompt_tokens to -1 to use its beginning.",
                    param="input",
                    code="context_length_exceeded",
                )
        return found

    def _width(self, wanted: int | None) -> int:
        """Raises ApiError where vectors of this width would mean little."""
        whole, shorter = self.embedder.dimensions, self.embedder.shorter
        if wanted is None or wanted == whole:
            return whole
        if wanted > whole:
            raise invalid(f"dimensions={wanted}: this model's vectors have {whole}", param="dimensions")
        if shorter is not None and wanted not in shorter:
            known = f"to {', '.join(map(str, sorted(shorter)))}" if shorter else "at all"
            remedy = "" if shorter else " (of one that was: --hf-overrides '{\"is_matryoshka\": true}')"
            raise invalid(
                f"dimensions={wanted}: this model's vectors of {whole} were not trained to be cut {known}{remedy}",
                param="dimensions",
            )
        return wanted


def _keep(wanted: int | None, context_tokens: int) -> int | None:
    if wanted is None or wanted == 0:
        return None
    return context_tokens if wanted < 0 else wanted


def _base64(vector: Any) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def _floats(vector: Any) -> list[float]:
    found: list[float] = vector.tolist()
    return found


def _no_chat(_: ChatRequest) -> list[int]:
    raise invalid("messages: this model makes embeddings; send prompt", param="messages")
