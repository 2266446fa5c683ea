"""Any org/model of a hub is a preset, or an error that says why not and what to do."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kaito.hub import client as face
from kaito.hub.client import CONFIG_BYTES_MAX, HubClient
from kaito.hub.endpoint import checked_endpoint, endpoint_of_environment
from kaito.hub.errors import HubError, HubUnreachable, ModelGated, ModelMissing, ModelUnsupported
from kaito.hub.model import CONTEXT_TOKENS_DEFAULT, HubModel, Listing, hub_model, preset_of, weights_bytes
from kaito.plan.catalog import find_preset, presets
from kaito.settings import HUB_ENDPOINT
from tests.model_hub import CONFIG, FILES, SIZES, ModelHub, Repository, answering, refusal

LISTING, FILE = "/api/models/Org/Model", "/Org/Model/resolve/main/config.json"


async def find(hub: ModelHub, model_id: str = "Org/Model", token: str = "") -> HubModel:
    async with hub.serving() as address, HubClient(address) as client:
        return await client.find(model_id, token)


async def test_a_model_of_the_hub_is_what_the_catalogue_says_of_it() -> None:
    hub = ModelHub(Org__Model=Repository())
    found, known = await find(hub, token="secret"), find_preset("phi-3.5-mini-instruct")
    preset = found.preset
    assert known is not None and hub.asked == [LISTING, FILE] and hub.tokens == ["secret"] * 2
    assert (preset.model_id, preset.license, preset.architecture) == ("Org/Model", "mit", "Phi3ForCausalLM")
    assert preset.weights_gib == pytest.approx(known.weights_gib, abs=0.01)
    assert (preset.bytes_per_token, preset.context_tokens_max) == (known.bytes_per_token, known.context_tokens_max)
    assert not found.is_gated


@pytest.mark.parametrize(
    ("path", "answer", "kind", "words"),
    [
        (LISTING, lambda: refusal(401, "RepoNotFound"), ModelMissing, "is not on the hub, or is private"),
        (LISTING, lambda: refusal(404), ModelMissing, "is not on the hub, or is private"),
        (FILE, lambda: refusal(401, "GatedRepo"), ModelGated, "no token is given; accept its licence"),
        (FILE, lambda: refusal(403), ModelGated, "is gated"),
        (FILE, lambda: refusal(404, "EntryNotFound"), ModelMissing, "has no config.json"),
        (LISTING, lambda: refusal(429), HubUnreachable, "429"),
        (LISTING, lambda: refusal(500), HubUnreachable, "500"),
        (LISTING, lambda: refusal(503), HubUnreachable, "503"),
        (LISTING, lambda: web.Response(text="<html>"), HubUnreachable, "is no JSON"),
        (LISTING, lambda: web.Response(text="[" * 100_000), HubUnreachable, "is no JSON"),
        (LISTING, lambda: web.Response(text="[]"), HubUnreachable, "expected a JSON object"),
        (FILE, lambda: web.Response(text=" " * (CONFIG_BYTES_MAX + 1)), HubUnreachable, "is longer than"),
        (FILE, lambda: web.Response(text="{}"), ModelUnsupported, "has no config.json"),
    ],
)
async def test_what_the_hub_refuses_is_told_by_its_kind(
    path: str, answer: Any, kind: type[HubError], words: str
) -> None:
    hub = ModelHub(Org__Model=Repository())
    hub.special[path] = answering(answer)
    with pytest.raises(kind, match=words):
        await find(hub)


async def test_a_gated_model_opens_to_the_token_that_has_accepted_its_licence_and_says_that_it_is_gated() -> None:
    hub = ModelHub(Org__Model=Repository(licensed=frozenset({"good"})))
    assert (await find(hub, token="good")).is_gated
    with pytest.raises(ModelGated, match="the token does not open it"):
        await find(hub, token="other")


async def test_a_private_model_is_there_for_its_readers_only() -> None:
    hub = ModelHub(Org__Model=Repository(readers=frozenset({"mine"})))
    assert (await find(hub, token="mine")).preset.model_id == "Org/Model"
    with pytest.raises(ModelMissing, match="or the token is not valid"):
        await find(hub, token="other")


async def test_a_hub_that_does_not_answer_and_names_that_are_none() -> None:
    async with HubClient("http://127.0.0.1:9") as client:
        with pytest.raises(HubUnreachable, match="HF_ENDPOINT"):
            await client.find("Org/Model")
        for name in ("model", "/model", "org/", "a/b/c", "a/..", "a/b c", "../b", "a/b?x=1", "a/%2e", "x" * 97 + "/b"):
            with pytest.raises(ModelMissing, match="ORG/MODEL"):
                await client.find(name)


async def test_a_hub_that_keeps_us_waiting_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:  # a byte now and then: only a deadline over the whole answer ends this
            await response.write(b" ")
            await asyncio.sleep(0.02)

    monkeypatch.setattr(face, "TIMEOUT_S", 0.2)
    hub = ModelHub(Org__Model=Repository())
    hub.special[LISTING] = slow
    with pytest.raises(HubUnreachable, match="does not answer"):
        await find(hub)


async def test_retry_after_is_told_and_bounded() -> None:
    hub = ModelHub(Org__Model=Repository())
    for text, expected in (("30", 30.0), ("999999", face.RETRY_AFTER_MAX_S), ("soon", 0.0)):
        hub.special[LISTING] = answering(lambda text=text: refusal(429, **{"Retry-After": text}))  # type: ignore[misc]
        with pytest.raises(HubUnreachable) as found:
            await find(hub)
        assert found.value.retry_after_s == expected


async def test_redirects_are_followed_within_the_hub_and_never_out_of_it() -> None:
    hub, other = ModelHub(Org__Model=Repository()), ModelHub(Org__Model=Repository())
    hub.special["/api/models/Old/Name"] = answering(lambda: refusal(307, Location="/api/models/Org/Model"))
    hub.special["/Old/Name/resolve/main/config.json"] = answering(lambda: refusal(307, Location=FILE))
    found = await find(hub, "Old/Name")
    assert found.preset.model_id == "Org/Model", "the name under which the hub knows it"

    hub.special[FILE] = answering(lambda: refusal(307, Location=FILE))
    with pytest.raises(HubUnreachable, match="sends us around"):
        await find(hub)

    async with other.serving() as elsewhere:
        hub.special[FILE] = answering(lambda: refusal(302, Location=elsewhere + FILE))
        with pytest.raises(HubUnreachable, match="which is not asked"):
            await find(hub, token="secret")
        assert other.asked == []


def test_the_endpoint_is_the_environments_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert endpoint_of_environment() == HUB_ENDPOINT
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/mirror/")
    assert endpoint_of_environment() == "https://hub.example/mirror"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert endpoint_of_environment() == ""
    for wrong in ("hub.example", "ftp://a", "https://", "https://a?b", "https://me:secret@a", "https://a:x"):
        with pytest.raises(ValueError, match="model hub"):
            checked_endpoint(wrong)


def test_only_the_weights_that_an_engine_loads_are_counted() -> None:
    both = SIZES | {"consolidated.safetensors": 9, "pytorch_model.bin": 9, "original/a.safetensors": 9, "README.md": 9}
    assert weights_bytes("a/b", both) == sum(SIZES.values())
    assert weights_bytes("a/b", {"consolidated.safetensors": 9}) == 9
    with pytest.raises(ModelUnsupported, match="GGUF"):
        weights_bytes("a/b", {"model.gguf": 1})
    with pytest.raises(HubUnreachable, match="does not say how large"):
        weights_bytes("a/b", {"model.safetensors": 0})


def test_nested_configs_latent_attention_and_quantization_are_read() -> None:
    text = CONFIG | {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "head_dim": 128}
    outer = {"architectures": ["XForConditionalGeneration"], "hidden_size": None, "text_config": text}
    found = preset_of("a/b", outer | {"quantization_config": {"quant_method": "fp8", "bits": 8}}, SIZES)
    assert (found.attention, found.quant_method, found.quant_bits, found.head_dim) == ("MLA", "fp8", "8", 128)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CONFIG | {"architectures": ["BertModel"]}, "no causal language model"),
        (CONFIG | {"is_encoder_decoder": True}, "no causal language model"),
        (CONFIG | {"architectures": []}, "names no architecture"),
        (CONFIG | {"architectures": "$(HF_TOKEN)"}, "names no architecture"),
        (CONFIG | {"num_hidden_layers": None}, "num_hidden_layers"),
        (CONFIG | {"hidden_size": "3072"}, "hidden_size"),
        (CONFIG | {"hidden_size": 10**30}, "hidden_size"),
    ],
)
def test_what_no_engine_serves_is_named(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelUnsupported, match=words):
        preset_of("a/b", config, SIZES)


def test_older_names_of_the_same_numbers_are_understood() -> None:
    old = {"architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_layer": 2, "n_head": 4, "multi_query": True}
    found = preset_of("a/b", old, SIZES)
    assert (found.hidden_size, found.layers, found.attention, found.head_dim) == (64, 2, "MQA", 16)
    assert found.context_tokens_max == CONTEXT_TOKENS_DEFAULT


async def test_mistrals_own_layout_is_served_in_its_own_formats() -> None:
    params = {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "max_seq_len": 4096}
    files = {"consolidated.safetensors": 1 << 30, "params.json": 9}
    found = (await find(ModelHub(Org__Model=Repository(params, files)))).preset
    assert (found.architecture, found.load_format, found.tokenizer_mode) == ("MistralForCausalLM", "mistral", "mistral")
    assert (found.kv_heads, found.context_tokens_max, found.weights_gib) == (2, 4096, 1.0)


async def test_adapters_and_gguf_are_told_what_they_are() -> None:
    for files, words in (({"adapter_config.json": 1}, "is an adapter"), ({"model.gguf": 9}, "GGUF")):
        with pytest.raises(ModelUnsupported, match=words):
            await find(ModelHub(Org__Model=Repository({}, files)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_whatever_the_hub_says_nothing_but_its_errors_is_raised(data: st.DataObject) -> None:
    """Answers that are right but for a few values: those of another's making."""
    config: dict[str, Any] = json.loads(json.dumps(CONFIG | {"text_config": CONFIG, "quantization_config": {}}))
    listing: dict[str, Any] = {
        "id": "Org/Model",
        "siblings": [{"rfilename": path, "size": size} for path, size in FILES.items()],
        "cardData": {"license": "mit"},
        "gated": False,
    }
    for place in (config, listing, config["text_config"], listing["siblings"][0]):
        for key in data.draw(st.lists(st.sampled_from(sorted(place)), max_size=2)):
            place[key] = data.draw(JSON)
    try:
        found = hub_model(Listing.of("Org/Model", listing), config)
    except HubError:
        return
    preset = found.preset
    assert preset.weights_gib >= 0 and preset.bytes_per_token > 0 and preset.head_dim > 0
    assert all("$" not in value for value in (preset.model_id, preset.architecture, preset.quant_method))


def test_every_preset_of_the_catalogue_would_be_found_by_its_name() -> None:
    assert all(
        Listing.of("asked/for", {"id": model.model_id}).model_id == model.model_id for model in presets().values()
    )
