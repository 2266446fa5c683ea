"""An `Engine` made of a `Generator`: requests are checked and turned into tokens, tokens into answers."""

from __future__ import annotations

from time import time

import msgspec
import structlog
from msgspec import structs

from kaito.inference.engine import Call, Operation, Reply
from kaito.inference.generation import Generator, Guide, Sampling
from kaito.inference.metrics import TokenMetrics
from kaito.inference.serving.chat import Chat
from kaito.inference.serving.completions import Text, prompts_of
from kaito.inference.serving.guides import guide_of
from kaito.inference.serving.messages import messages_for_template
from kaito.inference.serving.reasoning import REASONING_PARSERS, Marks
from kaito.inference.serving.responses import responses_of
from kaito.inference.serving.run import Run
from kaito.inference.serving.sampling import sampling_of, tokens_max_of, truncated
from kaito.inference.serving.served import Served
from kaito.inference.serving.tokens import detokenize, tokenize
from kaito.inference.serving.tool_parsers import TOOL_PARSERS
from kaito.inference.serving.tools import ToolPlan, tool_plan
from kaito.inference.settings import ModelSettings
from kaito.logs import Event
from kaito.web.openai.chat import ChatRequest
from kaito.web.openai.common import SamplingFields
from kaito.web.openai.completions import CompletionRequest
from kaito.web.openai.decode import decode
from kaito.web.openai.errors import ApiError, invalid, unknown_model
from kaito.web.openai.models import ModelCard

CHAT = msgspec.json.Decoder(ChatRequest)
OPERATIONS = frozenset(Operation) - {Operation.EMBEDDINGS}
COMPLETION = msgspec.json.Decoder(CompletionRequest)


class TokenServing:
    """OpenAI's face of one generator."""

    def __init__(self, generator: Generator, settings: ModelSettings) -> None:
        self.generator = generator
        self._served = Served(generator.info, settings)
        self._metrics = TokenMetrics(self._served.names[0], generator.count, generator.gpu_memory)
        self._settings = settings
        self._marks = REASONING_PARSERS.get(settings.reasoning_parser)
        _tell_unknown_parsers(settings)

    @property
    def name(self) -> str:
        return self.generator.name

    @property
    def operations(self) -> frozenset[Operation]:
        return OPERATIONS

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

    async def load_adapter(self, name: str, path: str) -> None:
        if name in self._served.names:
            raise invalid(f"lora_name={name!r} is the base model's own name", param="lora_name")
        await self.generator.load_adapter(name, path)

    async def unload_adapter(self, name: str) -> None:
        await self.generator.unload_adapter(name)

    def models(self) -> list[ModelCard]:
        adapters = self.generator.adapters.items()
        return self._served.cards() + [self._served.adapter_card(name, path) for name, path in adapters]

    async def run(self, operation: Operation, body: bytes, call: Call) -> Reply:
        match operation:
            case Operation.CHAT:
                chat = await self.chat(decode(body, CHAT), call)
                return chat if chat.request.stream else await chat.whole()
            case Operation.COMPLETIONS:
                text = await self._text(decode(body, COMPLETION), call)
                return text if text.request.stream else await text.whole()
            case Operation.TOKENIZE:
                return tokenize(body, self.generator.tokenizer, self.generator.info, self.chat_tokens)
            case Operation.DETOKENIZE:
                return detokenize(body, self.generator.tokenizer)
            case Operation.RESPONSES:
                answer = await responses_of(self, body, call)
                return answer if answer.request.stream else await answer.whole()
            case _:
                raise ApiError(404, f"This model does not do {operation}.", type="NotFoundError")

    async def chat(self, request: ChatRequest, call: Call) -> Chat:
        """The request, checked and in tokens. Raises ApiError."""
        settings = self._settings
        self.adapter_of(request.model)  # before anything is made of it
        tools = tool_plan(request, parser=settings.tool_call_parser, is_auto_allowed=settings.auto_tool_choice)
        if (guide := guide_of(request)) is not None and tools.guide is not None:
            raise invalid("response_format and tool_choice hold the output to different things", param="tool_choice")
        if (guide := guide or tools.guide) is not None:
            await self._check(guide)
        text = self._render(request)
        prompt = self.generator.tokenizer.encode(text, add_special_tokens=False)
        prompt = truncated(prompt, request, self.generator.info.context_tokens)
        wanted = request.max_completion_tokens or request.max_tokens
        top = (request.top_logprobs or 0) if request.logprobs else None
        sampling = self._sampling(request, prompt, wanted, top, guide, logprobs_field="top_logprobs")
        # Guided output holds from its first token on: there is no reasoning before it.
        marks = None if sampling.guide is not None or self._marks is None else self._marks.after(text)
        if request.skip_special_tokens is None and self._has_special_marks(marks, tools):
            sampling = structs.replace(sampling, skips_special=False)
        return Chat(
            request,
            self._run(request, call, [prompt], [sampling]),
            f"chatcmpl-{call.request_id}",
            int(time()),
            request.model or self._served.names[0],
            self.generator.tokenizer,
            marks,
            tools,
        )

    def _has_special_marks(self, marks: Marks | None, tools: ToolPlan) -> bool:
        """Whether what tells the answer's parts apart is special tokens, which answers are usually decoded without."""
        if marks is None and tools.notation is None:
            return False
        wanted = [marks.start, marks.end] if marks is not None else []
        wanted += [tools.notation.start, tools.notation.end] if tools.notation is not None else []
        special = self.generator.tokenizer.special_tokens
        return any(token in mark for mark in wanted for token in special)

    def chat_tokens(self, request: ChatRequest) -> list[int]:
        """The conversation after the model's template. Raises ApiError."""
        return self.generator.tokenizer.encode(self._render(request), add_special_tokens=False)

    def _render(self, request: ChatRequest) -> str:
        tokenizer = self.generator.tokenizer
        if request.chat_template is not None and not self._settings.trusts_request_template:
            raise invalid(
                "chat_template: a request's own is not used here; start the server with --chat-template, or with "
                "--trust-request-chat-template.",
                param="chat_template",
            )
        if not tokenizer.has_chat_template and not request.chat_template:
            raise invalid(
                "This model has no chat template: use /v1/completions, or start the server with --chat-template."
            )
        continues = bool(request.continue_final_message)
        has_tools = request.tools and request.tool_choice != "none"
        variables = {
            "tools": msgspec.to_builtins(request.tools) if has_tools else None,
            "add_generation_prompt": request.add_generation_prompt is not False and not continues,
            "continue_final_message": continues,
        }
        if request.reasoning_effort:
            variables["reasoning_effort"] = request.reasoning_effort
        if request.chat_template:
            variables["chat_template"] = request.chat_template
        if request.chat_template_kwargs:
            variables |= request.chat_template_kwargs
        try:
            return tokenizer.render_chat(messages_for_template(request.messages), **variables)
        except ValueError as error:
            raise invalid(str(error), param="messages") from error

    async def _text(self, request: CompletionRequest, call: Call) -> Text:
        tokenizer = self.generator.tokenizer
        self.adapter_of(request.model)  # before anything is made of it
        if request.suffix:
            raise invalid("suffix: this model does not fill in the middle", param="suffix")
        if request.max_tokens == 0 and not request.echo:
            raise invalid("max_tokens=0 needs echo: there would be nothing to answer", param="max_tokens")
        found = prompts_of(request, tokenizer)
        prompts = [truncated(prompt, request, self.generator.info.context_tokens) for prompt in found]
        guide, top = guide_of(request), request.logprobs
        if guide is not None:
            await self._check(guide)
        sampling = [
            self._sampling(request, prompt, request.max_tokens, top, guide, echoes=bool(request.echo))
            for prompt in prompts
        ]
        return Text(
            request,
            self._run(request, call, prompts, sampling),
            f"cmpl-{call.request_id}",
            int(time()),
            request.model or self._served.names[0],
            tokenizer,
            [tokenizer.decode(prompt) if request.echo else "" for prompt in prompts],
        )

    def _run(self, request: SamplingFields, call: Call, prompts: list[list[int]], sampling: list[Sampling]) -> Run:
        adapter = self.adapter_of(request.model)
        return Run(self.generator, self._metrics, call.request_id, prompts, sampling, request.n or 1, adapter)

    async def _check(self, guide: Guide) -> None:
        try:
            await self.generator.check_guide(guide)
        except ValueError as error:
            raise invalid(f"the output cannot be held to this {guide.kind}: {error}", param=guide.kind) from error

    def _sampling(
        self,
        request: SamplingFields,
        prompt: list[int],
        wanted: int | None,
        top_logprobs: int | None,
        guide: Guide | None,
        *,
        logprobs_field: str = "logprobs",
        echoes: bool = False,
    ) -> Sampling:
        if top_logprobs is not None and not 0 <= top_logprobs <= self._settings.logprobs_max:
            expected = f"expected 0 to {self._settings.logprobs_max}"
            raise invalid(f"{logprobs_field}={top_logprobs}: {expected}", param=logprobs_field)
        info = self.generator.info
        return sampling_of(
            request,
            info=info,
            tokenizer=self.generator.tokenizer,
            tokens_max=tokens_max_of(wanted, len(prompt), info.context_tokens),
            top_logprobs=top_logprobs,
            prompt_logprobs=top_logprobs if echoes else None,
            guide=guide,
        )

    def adapter_of(self, model: str) -> str:
        """The adapter that the name means; empty for the base model. Raises ApiError (404)."""
        if not model or model in self._served.names:
            return ""
        if model in self.generator.adapters:
            return model
        raise unknown_model(model, [*self._served.names, *self.generator.adapters])


def _tell_unknown_parsers(settings: ModelSettings) -> None:
    """vLLM has more parsers than this engine: a model that wants one of those is served without."""
    for flag, name, known in (
        ("tool-call-parser", settings.tool_call_parser, TOOL_PARSERS),
        ("reasoning-parser", settings.reasoning_parser, REASONING_PARSERS),
    ):
        if name and name not in known:
            structlog.get_logger().warning(Event.PARSER_UNKNOWN, flag=flag, value=name, known=sorted(known))
