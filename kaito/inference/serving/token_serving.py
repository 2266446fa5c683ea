"""An `Engine` made of a `Generator`: requests are checked and turned into tokens, tokens into answers."""

from __future__ import annotations

from time import time

import msgspec

from kaito.inference.engine import Call, Operation, Reply
from kaito.inference.generation import Generator
from kaito.inference.metrics import TokenMetrics
from kaito.inference.serving.chat import Chat, messages_for_template
from kaito.inference.serving.completions import Text, prompts_of
from kaito.inference.serving.run import Run
from kaito.inference.serving.sampling import sampling_of, tokens_max_of, truncated
from kaito.inference.settings import ModelSettings
from kaito.web.openai.chat import ChatRequest
from kaito.web.openai.completions import CompletionRequest
from kaito.web.openai.decode import decode
from kaito.web.openai.errors import ApiError, invalid, unknown_model
from kaito.web.openai.models import ModelCard

CHAT = msgspec.json.Decoder(ChatRequest)
COMPLETION = msgspec.json.Decoder(CompletionRequest)


class TokenServing:
    """OpenAI's face of one generator."""

    def __init__(self, generator: Generator, settings: ModelSettings) -> None:
        self.generator = generator
        self._settings = settings
        self._created = int(time())
        self._served = settings.served_names or (settings.model or generator.info.root,)
        self._metrics = TokenMetrics(self._served[0], generator.count)

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def operations(self) -> frozenset[Operation]:
        return frozenset({Operation.CHAT, Operation.COMPLETIONS})

    @property
    def slots(self) -> int:
        return self.generator.slots

    @property
    def fault(self) -> str:
        return self.generator.fault

    async def stop(self) -> None:
        await self.generator.stop()

    def exposition(self) -> bytes:
        return self._metrics.exposition()

    def models(self) -> list[ModelCard]:
        info = self.generator.info
        base = [
            ModelCard(
                id=name,
                created=self._created,
                root=info.root,
                max_model_len=info.context_tokens,
                description=info.description or None,
            )
            for name in self._served
        ]
        adapters = [
            ModelCard(id=name, created=self._created, root=path, parent=self._served[0])
            for name, path in self.generator.adapters.items()
        ]
        return base + adapters

    async def run(self, operation: Operation, body: bytes, call: Call) -> Reply:
        match operation:
            case Operation.CHAT:
                chat = self._chat(decode(body, CHAT), call)
                return chat if chat.request.stream else await chat.whole()
            case Operation.COMPLETIONS:
                text = self._text(decode(body, COMPLETION), call)
                return text if text.request.stream else await text.whole()
            case _:
                raise ApiError(404, f"This model does not do {operation}.", type="NotFoundError")

    def _chat(self, request: ChatRequest, call: Call) -> Chat:
        adapter = self._adapter(request.model)
        generator = self.generator
        prompt = truncated(self._rendered(request), request, generator.info.context_tokens)
        wanted = request.max_completion_tokens or request.max_tokens
        top = (request.top_logprobs or 0) if request.logprobs else None
        self._check_logprobs(top, "top_logprobs")
        sampling = sampling_of(
            request,
            info=generator.info,
            tokenizer=generator.tokenizer,
            tokens_max=tokens_max_of(wanted, len(prompt), generator.info.context_tokens),
            top_logprobs=top,
        )
        run = Run(generator, self._metrics, call.request_id, [prompt], [sampling], request.n or 1, adapter)
        return Chat(
            request, run, f"chatcmpl-{call.request_id}", int(time()), self._named(request.model), generator.tokenizer
        )

    def _rendered(self, request: ChatRequest) -> list[int]:
        tokenizer = self.generator.tokenizer
        if not tokenizer.has_chat_template and not request.chat_template:
            raise invalid(
                "This model has no chat template: use /v1/completions, or start the server with --chat-template."
            )
        continues = bool(request.continue_final_message)
        variables = {
            "tools": msgspec.to_builtins(request.tools) if request.tools else None,
            "add_generation_prompt": request.add_generation_prompt is not False and not continues,
            "continue_final_message": continues,
            **(request.chat_template_kwargs or {}),
        }
        try:
            text = tokenizer.render_chat(messages_for_template(request.messages), **variables)
        except ValueError as error:
            raise invalid(str(error), param="messages") from error
        return tokenizer.encode(text, add_special_tokens=False)

    def _text(self, request: CompletionRequest, call: Call) -> Text:
        adapter = self._adapter(request.model)
        generator = self.generator
        tokenizer, context_tokens = generator.tokenizer, generator.info.context_tokens
        if request.suffix:
            raise invalid("suffix: this model does not fill in the middle", param="suffix")
        self._check_logprobs(request.logprobs, "logprobs")
        prompts = [truncated(prompt, request, context_tokens) for prompt in prompts_of(request, tokenizer)]
        sampling = [
            sampling_of(
                request,
                info=generator.info,
                tokenizer=tokenizer,
                tokens_max=tokens_max_of(request.max_tokens, len(prompt), context_tokens),
                top_logprobs=request.logprobs,
                prompt_logprobs=request.logprobs if request.echo else None,
            )
            for prompt in prompts
        ]
        echoes = [tokenizer.decode(prompt) if request.echo else "" for prompt in prompts]
        run = Run(generator, self._metrics, call.request_id, prompts, sampling, request.n or 1, adapter)
        return Text(request, run, f"cmpl-{call.request_id}", int(time()), self._named(request.model), tokenizer, echoes)

    def _check_logprobs(self, wanted: int | None, field: str) -> None:
        if wanted is not None and not 0 <= wanted <= self._settings.logprobs_max:
            raise invalid(f"{field}={wanted}: expected 0 to {self._settings.logprobs_max}", param=field)

    def _named(self, model: str) -> str:
        return model or self._served[0]

    def _adapter(self, model: str) -> str:
        """The adapter that the name means; empty for the base model. Raises ApiError (404)."""
        if not model or model in self._served:
            return ""
        if model in self.generator.adapters:
            return model
        raise unknown_model(model, [*self._served, *self.generator.adapters])
