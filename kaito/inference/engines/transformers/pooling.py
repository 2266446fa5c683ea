"""From a model's hidden states to one vector a text, as the model's own sentence-transformers files say.

`modules.json` lists what follows the transformer: pooling, dense layers, normalisation. Without it an encoder's tokens
are averaged, as sentence-transformers does it, and a decoder's last one is taken; both are normalised, as vLLM does it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kaito.inference.engine import EngineError

MODULES = "modules.json"
TRANSFORMER_SETTINGS = "sentence_bert_config.json"
# (hidden [rows, tokens, width], mask [rows, tokens, 1], lengths [rows]) → [rows, width]; padding is on the right.
Pool: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


def _mean(hidden: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    return (hidden * mask).sum(1) / lengths.unsqueeze(1)


def _mean_sqrt(hidden: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    return (hidden * mask).sum(1) / lengths.sqrt().unsqueeze(1)


def _weighted_mean(hidden: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    weights = mask * torch.arange(1, hidden.shape[1] + 1, device=hidden.device).view(1, -1, 1)
    return (hidden * weights).sum(1) / weights.sum(1)


def _max(hidden: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    return hidden.masked_fill(mask == 0, -torch.inf).max(1).values


def _first(hidden: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    return hidden[:, 0]


def _last(hidden: Tensor, mask: Tensor, lengths: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), lengths.long() - 1]


# By the names of sentence-transformers' `pooling_mode`, in the order in which it joins several.
POOLS: dict[str, Pool] = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
# As older files spell them: `pooling_mode_…: true`.
SPELLINGS = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "weightedmean_tokens": "weightedmean"}
SPELLINGS |= {name: name for name in POOLS}


@dataclass(slots=True)
class Head:
    """What follows the transformer. `prompt` is put before every text, `context_tokens` bounds it; 0: no bound."""

    pools: list[str]
    layers: list[nn.Module] = field(default_factory=list)
    is_normalized: bool = True
    prompt: str = ""
    lowers: bool = False
    context_tokens: int = 0

    def dimensions(self, width: int) -> int:
        """Of its vectors, for hidden states of that width."""
        found = width * len(self.pools)
        for layer in self.layers:
            found = layer[0].out_features if isinstance(layer, nn.Sequential) else found
        return found

    def __call__(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """[rows, tokens, width] and [rows] to [rows, dimensions], float32. Padding is on the right."""
        hidden, lengths = hidden.float(), lengths.float()
        places = torch.arange(hidden.shape[1], device=hidden.device)
        mask = (places.unsqueeze(0) < lengths.unsqueeze(1)).unsqueeze(2).float()
        vectors = torch.cat([POOLS[pool](hidden, mask, lengths) for pool in self.pools], dim=1)
        for layer in self.layers:
            vectors = layer(vectors)
        return nn.functional.normalize(vectors, dim=1) if self.is_normalized else vectors


def read_head(folder: Path, *, is_decoder: bool, device: torch.device) -> Head:
    """Raises EngineError for a module that is not known here."""
    if not (folder / MODULES).is_file():
        return Head(["lasttoken" if is_decoder else "mean"])
    head = Head([], is_normalized=False)
    for module in _json(folder / MODULES):
        kind = str(module["type"]).rpartition(".")[2]
        path = folder / module.get("path", "")
        match kind:
            case "Transformer":
                _take_transformer(head, path)
            case "Pooling":
                head.pools = _pools(path / "config.json")
            case "Dense":
                head.layers.append(_dense(path).to(device))
            case "Normalize":
                head.is_normalized = True
            case _:
                raise EngineError(f"{folder / MODULES}: a module of type {module['type']} is not known here")
    if not head.pools:
        raise EngineError(f"{folder / MODULES} names no pooling: vectors of whole texts cannot be made of it")
    prompts = _json(folder / "config_sentence_transformers.json")
    head.prompt = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name") or "", "")
    return head


def _take_transformer(head: Head, path: Path) -> None:
    written = _json(path / TRANSFORMER_SETTINGS)
    if "message" in (written.get("modality_config") or {}):
        raise EngineError(f"{path / TRANSFORMER_SETTINGS}: texts that go through a chat template are not known here")
    head.lowers = bool(written.get("do_lower_case"))
    head.context_tokens = int(written.get("max_seq_length") or 0)


def _pools(file: Path) -> list[str]:
    written = _json(file)
    if written.get("include_prompt") is False:
        raise EngineError(f"{file}: include_prompt false (prompts outside the pooling) is not known here")
    modes = written.get("pooling_mode")
    if modes is None:
        prefix = "pooling_mode_"
        chosen = {SPELLINGS.get(key.removeprefix(prefix), key) for key, value in written.items() if value is True}
        modes = [name for name in POOLS if name in chosen]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if not modes or any(mode not in POOLS for mode in modes):
        raise EngineError(f"{file}: pooling {modes or 'none'}, expected some of {', '.join(POOLS)}")
    return modes


def _dense(path: Path) -> nn.Module:
    """A linear layer and its activation."""
    written = _json(path / "config.json")
    name = str(written.get("activation_function") or "torch.nn.modules.linear.Identity")
    activation = getattr(nn, name.rpartition(".")[2], None) if name.startswith("torch.nn.") else None
    if activation is None or not issubclass(activation, nn.Module):
        raise EngineError(f"{path / 'config.json'}: activation_function {name}, expected one of torch.nn")
    if written.get("use_residual") or written.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise EngineError(f"{path / 'config.json'}: a dense layer that is not a plain one after the pooling")
    linear = nn.Linear(written["in_features"], written["out_features"], bias=bool(written.get("bias", True)))
    if (path / "model.safetensors").is_file():
        weights = load_file(path / "model.safetensors")
    else:
        weights = torch.load(path / "pytorch_model.bin", map_location="cpu", weights_only=True)
    linear.load_state_dict({name.removeprefix("linear."): value.float() for name, value in weights.items()})
    return nn.Sequential(linear, activation()).eval()


def _json(file: Path) -> Any:
    """Empty where there is no such file. Raises EngineError."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise EngineError(f"{file} is not JSON: {error}") from error
