"""The lower seam: tokens in, tokens out. An engine without an OpenAI face of its own implements `Generator`.

What is made for every request or token is a msgspec.Struct: it is made in a fifth of a frozen dataclass' time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

Finish: TypeAlias = Literal["stop", "length"]


class Guide(msgspec.Struct, frozen=True):
    """What the output must match. `source` is a JSON schema, a regular expression, or a Lark grammar."""

    kind: Literal["json_schema", "regex", "grammar"]
    source: str


class Sampling(msgspec.Struct, frozen=True):
    """How tokens are chosen and when to stop. Order: penalties, bias, guide, temperature, min_p, top_k, top_p."""

    tokens_max: int
    temperature: float = 1.0  # 0: the most probable token
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    keeps_stop: bool = False  # the stop string stays in the output
    stop_tokens: frozenset[int] = frozenset()  # beside the model's own end tokens
    ignores_eos: bool = False
    tokens_min: int = 0
    bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int | None = None  # None: no logprobs; n: with the n most probable alternatives
    prompt_logprobs: int | None = None  # the same for the prompt's tokens
    guide: Guide | None = None
    skips_special: bool = True


class TokenLogprob(msgspec.Struct, frozen=True):
    """Natural log of the probability before temperature and penalties. `top`: (token, logprob), most probable first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Delta(msgspec.Struct):
    """What one step added to one sequence. `text` may lag behind `tokens`: a character or a stop string half done."""

    tokens: list[int]
    text: str
    logprobs: list[TokenLogprob] | None = None
    finish: Finish | None = None
    stop_reason: str | int | None = None
    prompt_logprobs: list[TokenLogprob | None] | None = None  # with the first delta, where asked for


class Failure(msgspec.Struct, frozen=True):
    """The sequence ended without an answer. `status` is HTTP's."""

    message: str
    status: int = 500


Outcome: TypeAlias = Delta | Failure
# On the event loop: (index of the job, outcome); what is ready together for one sink comes in one call.
Sink: TypeAlias = Callable[[list[tuple[int, Outcome]]], None]


class Job(msgspec.Struct, frozen=True):
    """One sequence to generate. `sink` gets its outcomes until one has `finish` or is a Failure."""

    id: str
    prompt: list[int]
    sampling: Sampling
    sink: Sink
    index: int = 0
    adapter: str = ""  # empty: the base model


class Tokenizer(Protocol):
    """The model's tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]: ...

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str: ...

    def token_name(self, token: int) -> str:
        """The vocabulary's own spelling of the token."""

    def render_chat(self, messages: list[dict[str, Any]], **variables: Any) -> str:
        """The chat template's text. Raises ValueError with the template's own words."""

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def special_tokens(self) -> frozenset[str]:
        """Those that `skip_special_tokens` leaves out."""

    @property
    def has_chat_template(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is loaded. `defaults` are the model's own sampling defaults, by the names of `Sampling`'s fields."""

    root: str
    context_tokens: int
    description: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)


class GpuMemory(msgspec.Struct, frozen=True):
    """Of one device, everybody's on it: what is taken, and all there is."""

    device: str
    used_bytes: int
    total_bytes: int


class LoadedModel(Protocol):
    """What every model in memory says of itself. Called on the event loop."""

    @property
    def name(self) -> str: ...

    @property
    def slots(self) -> int: ...

    @property
    def fault(self) -> str: ...

    @property
    def info(self) -> ModelInfo: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def count(self) -> tuple[int, int]:
        """(running, waiting) sequences or inputs."""

    def gpu_memory(self) -> list[GpuMemory]:
        """Of the devices that it is on; none on a CPU."""

    async def stop(self) -> None:
        """Ends what still runs or waits, each with an error, and frees the device."""


class Generator(LoadedModel, Protocol):
    """Continuous batching of sequences; sinks are called on the event loop."""

    @property
    def adapters(self) -> Mapping[str, str]:
        """Names of the loaded adapters, and where each came from."""

    async def load_adapter(self, name: str, path: str) -> None:
        """Raises ApiError."""

    async def unload_adapter(self, name: str) -> None:
        """Raises ApiError."""

    async def check_guide(self, guide: Guide) -> None:
        """Compiles it. Raises ValueError with its fault."""

    async def submit(self, job: Job) -> None:
        """Begins. What cannot be begun is a Failure to its sink."""

    def cancel(self, job_id: str) -> None:
        """Ends it within one step, without a further outcome. One that is gone is fine."""
