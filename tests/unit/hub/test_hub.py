"""Any org/model of a hub is a preset, or an error that says why not and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from kaito.hub.client import CONFIG_BYTES_MAX, HubClient
from kaito.hub.errors import HubError, HubUnreachable, ModelGated, ModelMissing, ModelUnsupported
from kaito.hub.model import preset_of, weights_bytes
from kaito.plan.catalog import Preset, find_preset

CONFIG: dict[str, Any] = {
    "architectures": ["Phi3ForCausalLM"],
    "max_position_embeddings": 131072,
    "hidden_size": 3072,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
}
SIZES = {"model-00001-of-00002.safetensors": 4_000_000_000, "model-00002-of-00002.safetensors": 3_642_159_104}


class FakeHub:
    """The two endpoints that we ask; `special` answers for a path first."""

    def __init__(self) -> None:
        self.special: dict[str, web.Response] = {}
        self.asked: list[str] = []
        self.tokens: set[str] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.tokens.add(request.headers.get("Authorization", ""))
        if request.path in self.special:
            return self.special[request.path]
        if request.path.startswith("/api/models/"):
            files = [{"rfilename": name, "size": size} for name, size in SIZES.items()]
            return web.json_response({"id": "Org/Model", "siblings": files, "cardData": {"license": "mit"}})
        return web.json_response(CONFIG)


async def find(hub: FakeHub, model_id: str = "Org/Model", token: str = "") -> Preset:
    async with hub.serving() as address, HubClient(address, token) as client:
        first = await client.find(model_id)
        assert await client.find(model_id) == first
        return first


async def test_a_model_of_the_hub_is_what_the_catalogue_says_of_it_and_is_asked_for_once() -> None:
    hub = FakeHub()
    found, known = await find(hub, token="secret"), find_preset("phi-3.5-mini-instruct")
    assert known is not None and len(hub.asked) == 2 and hub.tokens == {"Bearer secret"}
    assert (found.model_id, found.license, found.architecture) == ("Org/Model", "mit", "Phi3ForCausalLM")
    assert found.weights_gib == pytest.approx(known.weights_gib, abs=0.01)
    assert (found.bytes_per_token, found.context_tokens_max) == (known.bytes_per_token, known.context_tokens_max)


@pytest.mark.parametrize(
    ("path", "answer", "kind", "words"),
    [
        ("/api/models/Org/Model", (401, "RepoNotFound", ""), ModelMissing, "is not on the hub, or is private"),
        ("/Org/Model/resolve/main/config.json", (403, "GatedRepo", ""), ModelGated, "accept its licence"),
        ("/Org/Model/resolve/main/config.json", (404, "EntryNotFound", ""), ModelMissing, "has no config.json"),
        ("/api/models/Org/Model", (503, "", ""), HubUnreachable, "503"),
        ("/api/models/Org/Model", (200, "", "<html>"), HubUnreachable, "is not JSON"),
        ("/api/models/Org/Model", (200, "", "[]"), HubUnreachable, "expected a JSON object"),
        ("/Org/Model/resolve/main/config.json", (200, "", " " * (CONFIG_BYTES_MAX + 1)), HubUnreachable, "more than"),
        ("/Org/Model/resolve/main/config.json", (200, "", "{}"), ModelUnsupported, "no architecture"),
    ],
)
async def test_what_the_hub_refuses_is_told_by_its_kind(
    path: str, answer: tuple[int, str, str], kind: type[HubError], words: str
) -> None:
    hub, (status, code, text) = FakeHub(), answer
    hub.special[path] = web.Response(status=status, text=text, headers={"X-Error-Code": code} if code else None)
    with pytest.raises(kind, match=words):
        await find(hub)


async def test_a_hub_that_does_not_answer_and_names_that_are_none() -> None:
    async with HubClient("http://127.0.0.1:9") as client:
        with pytest.raises(HubUnreachable, match="HF_ENDPOINT"):
            await client.find("Org/Model")
        for name in ("model", "/model", "org/", "a/b/c", "a/.."):
            with pytest.raises(ModelMissing, match="ORG/MODEL"):
                await client.find(name)


def test_only_the_weights_that_an_engine_loads_are_counted() -> None:
    both = SIZES | {"consolidated.safetensors": 9, "pytorch_model.bin": 9, "original/a.safetensors": 9, "README.md": 9}
    assert weights_bytes("a/b", both) == sum(SIZES.values())
    assert weights_bytes("a/b", {"consolidated.safetensors": 9}) == 9
    with pytest.raises(ModelUnsupported, match="GGUF"):
        weights_bytes("a/b", {"model.gguf": 1})


def test_nested_configs_latent_attention_and_quantization_are_read() -> None:
    text = CONFIG | {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "head_dim": 128}
    outer = {"architectures": ["XForConditionalGeneration"], "text_config": text}
    found = preset_of("a/b", outer | {"quantization_config": {"quant_method": "fp8"}}, SIZES)
    assert (found.attention, found.quant_method, found.head_dim) == ("MLA", "fp8", 128)
    with pytest.raises(ModelUnsupported, match="no text generator"):
        preset_of("a/b", CONFIG | {"architectures": ["BertModel"]}, SIZES)
    with pytest.raises(ModelUnsupported, match="num_hidden_layers"):
        preset_of("a/b", {**CONFIG, "num_hidden_layers": None}, SIZES)
