"""LoRA adapters beside the base model, several in one batch.

transformers packs all sequences of a step into one row [1, tokens, width], and PEFT's mixed batches tell adapters apart
by row. So before a LoRA layer the packed row is stood upright, [tokens, 1, width], with an adapter's name for every
token, and laid down again after it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kaito.inference.engine import EngineError

CONFIG = "adapter_config.json"
BASE = "__base__"  # PEFT's name for no adapter
MERGED = "merged"


class AdapterError(ValueError):
    """An adapter that cannot be used: which, why, and what would do."""


@dataclass(slots=True)
class Adapters:
    """All methods but `route` need the model to themselves: nothing may run on it meanwhile."""

    model: Any
    rank_max: int
    paths: dict[str, str] = field(default_factory=dict)  # by the name that requests use
    _keys: dict[str, str] = field(default_factory=dict)  # PEFT's keys: a name may have characters that keys may not
    _retired: set[str] = field(default_factory=set)
    _peft: Any = None  # peft is imported with the first adapter: it takes seconds
    _count: int = 0
    _hooked: set[int] = field(default_factory=set)
    _base: str = BASE
    _tokens: list[str] = field(default_factory=list)  # the adapter's key of every token of this step …
    _rows: list[str] = field(default_factory=list)  # … and of every token that logits are made of
    _by_row: list[str] = field(default_factory=list)  # the adapter's key of every row, where a row is one sequence
    _uniform: str = BASE  # of a step with one adapter only; empty for a mixed one

    def key_of(self, name: str) -> str:
        """What `route` calls the adapter; the base model, or what is merged into it, for the empty name."""
        return self._keys[name] if name else self._base

    def load(self, name: str, folder: Path) -> None:
        """Raises AdapterError."""
        if name in self.paths:
            raise AdapterError(f"adapter {name!r} is loaded already, from {self.paths[name]}: unload it first")
        check(folder, self.rank_max)
        self._count += 1
        key = f"a{self._count}"
        from peft import PeftModel

        try:
            if self._peft is None:
                names = key_mapping(self.model)
                self._peft = PeftModel.from_pretrained(self.model, str(folder), adapter_name=key, key_mapping=names)
            else:
                names = key_mapping(self._peft)
                self._peft.load_adapter(str(folder), adapter_name=key, key_mapping=names)
        except (ValueError, RuntimeError, KeyError, OSError) as error:
            raise AdapterError(
                f"adapter {name!r} in {folder} does not fit this model: {str(error).splitlines()[0]}"
            ) from error
        self._peft.eval()
        self._hook()
        self.paths[name], self._keys[name] = str(folder), key

    def unload(self, name: str, in_use: Iterable[str]) -> None:
        """Raises AdapterError. Sequences that run with it go on; its weights go once nothing does."""
        if name not in self.paths:
            raise AdapterError(f"there is no adapter {name!r}: loaded are {', '.join(self.paths) or 'none'}")
        del self.paths[name]
        self._retired.add(self._keys.pop(name))
        self.sweep(in_use)

    def sweep(self, in_use: Iterable[str]) -> None:
        """Frees what was unloaded and is in use no more."""
        assert self._peft is not None or not self._retired
        for key in self._retired - set(in_use):
            self._peft.delete_adapter(key)
            self._retired.discard(key)

    def merge(self, strengths: dict[str, float], combination_type: str) -> None:
        """Requests for the base model get the weighted sum of these adapters. Raises AdapterError."""
        assert self._peft is not None
        keys = [self._keys[name] for name in strengths]
        try:
            self._peft.add_weighted_adapter(keys, list(strengths.values()), MERGED, combination_type=combination_type)
        except ValueError as error:
            raise AdapterError(f"adapters cannot be merged as {combination_type}: {error}") from error
        self._hook()
        self._base = MERGED

    def route(self, spans: list[tuple[str, int]], rows: list[str]) -> None:
        """Which adapter the coming step's tokens belong to: (key, tokens) in their order, and the key of every row."""
        if self._peft is None:
            return
        self._by_row = []
        used = {key for key, _ in spans}
        self._uniform = next(iter(used)) if len(used) == 1 else ""
        if not self._uniform:
            self._tokens = [key for key, count in spans for _ in range(count)]
            self._rows = rows

    def route_rows(self, keys: list[str]) -> None:
        """The same for a batch of one sequence a row."""
        self._by_row = keys
        self._uniform = keys[0] if len(set(keys)) == 1 else ""

    def _hook(self) -> None:
        from peft.tuners.lora import LoraLayer

        for module in self.model.modules():
            if isinstance(module, LoraLayer) and id(module) not in self._hooked:
                self._hooked.add(id(module))
                module.register_forward_pre_hook(self._before, with_kwargs=True)
                module.register_forward_hook(self._after)

    def _before(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        x = args[0]
        if self._uniform:
            return args, {**kwargs, "adapter_names": [self._uniform] * len(x)}
        if self._by_row:
            return args, {**kwargs, "adapter_names": self._by_row}
        names = self._tokens if x.shape[1] == len(self._tokens) else self._rows
        return (x.transpose(0, 1), *args[1:]), {**kwargs, "adapter_names": names}

    def _after(self, module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        return output if self._uniform or self._by_row else output.transpose(0, 1)


def key_mapping(model: Any) -> dict[str, str] | None:
    """PEFT's renaming of an adapter's weights, where one of a model that also sees meets its text part alone.

    Without it PEFT would find no place for them, and say so in a warning only.
    """
    whole = r"^model\.language_model\."
    is_whole = any(name.endswith(".language_model") for name, _ in model.named_modules())
    return None if is_whole else {whole: "model."}


def check(folder: Path, rank_max: int) -> None:
    """Raises AdapterError for what is not a LoRA adapter in PEFT's layout."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(f"{folder} has no {CONFIG}: expected an adapter in PEFT's layout") from None
    except (OSError, ValueError) as error:
        raise AdapterError(f"{folder / CONFIG} cannot be read: {error}") from error
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"{folder}: peft_type {config.get('peft_type')!r}, only LORA is served")
    if config.get("use_dora"):
        raise AdapterError(f"{folder}: a DoRA adapter cannot share a batch with others: merge it into the weights")
    rank = max([config.get("r") or 0, *(config.get("rank_pattern") or {}).values()])
    if rank > rank_max:
        raise AdapterError(f"{folder}: rank {rank}, at most {rank_max} is served (--max-lora-rank)")


def found_in(folder: Path) -> list[tuple[str, Path]]:
    """(name, folder) of every adapter below, by name. A folder without adapter_config.json is none."""
    if not folder.is_dir():
        return []
    return [(child.name, child) for child in sorted(folder.iterdir()) if (child / CONFIG).is_file()]


def strengths_of(names: Iterable[str], environment: dict[str, str]) -> dict[str, float]:
    """Weights of a merge, from environment variables named as the adapters (1 for those without); empty without any.

    Raises EngineError.
    """
    known = list(names)
    if not any(name in environment for name in known):
        return {}
    try:
        return {name: float(environment.get(name, "1")) for name in known}
    except ValueError as error:
        raise EngineError(f"an adapter's strength is not a number: {error}") from error
