"""The HTTP face over a scripted engine: limits, keys, errors, drain, TLS, traces."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
from pathlib import Path

import openai
import pytest
import structlog
import trustme
from aiohttp import web

from kaito.inference.engine import Write
from kaito.inference.generation import GpuMemory
from kaito.inference.settings import Limits
from kaito.web.tracing import open_tracing
from tests.unit.inference.harness import NAME, Served, serving

CHAT = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}


async def settled(served: Served) -> None:
    async with asyncio.timeout(10):
        while served.app.state.in_flight.count or served.generator.count()[0]:  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "words"),
    [
        ("GET", "/nothing", {}, 404, "nothing at /nothing"),
        ("GET", "/v1/chat/completions", {}, 405, "takes POST, not GET"),
        ("POST", "/v1/chat/completions", {"data": b"{"}, 400, "not JSON"),
        ("POST", "/v1/chat/completions", {"data": b"\xff\xfe"}, 400, "not JSON"),
        ("POST", "/v1/chat/completions", {"json": []}, 400, "Expected `object`, got `array`"),
        ("POST", "/v1/chat/completions", {"json": {"model": NAME}}, 400, "messages"),
        ("POST", "/v1/chat/completions", {"json": CHAT | {"temperature": "hot"}}, 400, "temperature"),
        ("POST", "/v1/chat/completions", {"json": CHAT | {"messages": []}}, 400, "at least one message"),
        ("POST", "/v1/chat/completions", {"json": CHAT | {"max_tokens": 1 << 21}}, 400, "at most"),
        ("POST", "/v1/chat/completions", {"json": CHAT | {"stop": [""]}}, 400, "stop"),
        ("POST", "/v1/chat/completions", {"json": CHAT | {"logit_bias": {"x": 1}}}, 400, "logit_bias"),
        ("POST", "/v1/chat/completions", {"json": CHAT | {"model": "other"}}, 404, "Served here: `fake`"),
        ("POST", "/v1/embeddings", {"json": {"model": NAME, "input": "x"}}, 404, "--runner=pooling"),
        ("POST", "/v1/load_lora_adapter", {"json": {}}, 403, "--kaito-runtime-lora"),
        ("POST", "/v1/chat/completions", {"data": b"x" * 2000}, 413, "1000 bytes"),
        (
            "POST",
            "/v1/chat/completions",
            {"data": gzip.compress(b"{}"), "headers": {"Content-Encoding": "gzip"}},
            415,
            "compressed",
        ),
        ("GET", "/kaito/benchmark", {}, 404, "--kaito-benchmark"),
    ],
)
async def test_every_refusal_is_openais_envelope(method: str, path: str, options: dict, status: int, words: str):
    async with serving(limits=Limits(body_bytes_max=1000)) as served:
        code, headers, body = await served.ask(method, path, **options)
        assert code == status
        assert set(body) == {"error"} and set(body["error"]) == {"message", "type", "param", "code"}
        assert words in body["error"]["message"] + str(body["error"]["param"])
        assert headers["X-Request-Id"] and headers["Content-Type"] == "application/json"


async def test_an_image_is_refused_with_its_place():
    async with serving() as served:
        parts = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
        with pytest.raises(openai.BadRequestError, match="this model reads text only") as refused:
            await served.client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": parts}])
        assert refused.value.param == "messages[0].content[1]"


async def test_a_body_that_does_not_arrive_is_408_and_holds_no_slot():
    async with serving(limits=Limits(read_timeout_s=0.1)) as served:

        async def slowly():
            yield b'{"model"'
            await asyncio.sleep(5)

        code, _, body = await served.ask("POST", "/v1/completions", data=slowly())
        assert code == 408 and "0.1 s" in body["error"]["message"]
        assert served.app.state.in_flight.count == 0


async def test_an_answer_that_takes_too_long_is_504_and_a_stream_ends_with_the_error():
    async with serving(step_s=0.05, limits=Limits(request_timeout_s=0.2)) as served:
        code, _, body = await served.ask("POST", "/v1/chat/completions", json=CHAT | {"max_tokens": 1000})
        assert code == 504 and body["error"]["code"] == "timeout"
        _, _, text = await served.ask("POST", "/v1/chat/completions", json=CHAT | {"max_tokens": 1000, "stream": True})
        *_, last, done, empty = text.split("\n\n")
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "timeout"
        assert (done, empty) == ("data: [DONE]", "")
        await settled(served)


async def test_a_request_id_goes_through_and_a_bad_one_is_replaced():
    async with serving() as served:
        _, headers, body = await served.ask(
            "POST", "/v1/chat/completions", json=CHAT, headers={"X-Request-Id": "my-id.1"}
        )
        assert headers["X-Request-Id"] == "my-id.1" and body["id"] == "chatcmpl-my-id.1"
        _, headers, _ = await served.ask("GET", "/health", headers={"X-Request-Id": "a b"})
        assert headers["X-Request-Id"] != "a b"


async def test_keys_guard_everything_but_probes_and_metrics(tmp_path: Path):
    file = tmp_path / "keys"
    file.write_text("key\n")
    async with serving(api_key_file=file) as served:
        for path, status in (
            ("/health", 200), ("/ready", 200), ("/metrics", 200), ("/v1/models", 401), ("/openapi.json", 401),
        ):  # fmt: skip
            assert (await served.ask("GET", path))[0] == status
        assert (await served.ask("POST", "/tokenize", json={"prompt": "x"}))[0] == 401
        assert [model.id async for model in served.client.models.list()] == [NAME]


async def test_a_draining_server_finishes_its_streams_and_takes_no_more():
    async with serving(step_s=0.01) as served:
        stream = await served.client.chat.completions.create(**CHAT | {"max_tokens": 20}, stream=True)
        first = await anext(aiter(stream))
        draining = asyncio.create_task(served.app.state.in_flight.drained(10))
        await asyncio.sleep(0)
        assert (await served.ask("GET", "/ready"))[0] == 503 and (await served.ask("GET", "/health"))[0] == 200
        assert (await served.ask("POST", "/v1/chat/completions", json=CHAT))[0] == 503
        rest = [chunk async for chunk in stream]
        assert first.choices[0].delta.role == "assistant" and len(rest) == 20
        assert await draining


async def test_a_drain_ends_when_its_grace_does():
    async with serving(step_s=0.01) as served:
        stream = await served.client.chat.completions.create(**CHAT | {"max_tokens": 10_000}, stream=True)
        assert not await served.app.state.in_flight.drained(0.05)
        await stream.close()
        await settled(served)


async def test_a_reader_that_lags_is_dropped_and_its_slot_freed():
    async with serving(limits=Limits(stream_buffer_bytes_max=10_000)) as served:
        reader, writer = await asyncio.open_connection(*served.url.removeprefix("http://").split(":"), limit=1024)
        body = json.dumps(CHAT | {"max_tokens": 1_000_000, "stream": True}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readline()
        async with asyncio.timeout(20):  # it reads no more: buffers fill up
            while served.app.state.in_flight.count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert served.generator.count()[0] == 0
        writer.close()


async def test_an_old_client_gets_its_stream_unframed():
    async with serving() as served:
        reader, writer = await asyncio.open_connection(*served.url.removeprefix("http://").split(":"))
        body = json.dumps(CHAT | {"stream": True}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head, _, text = (await reader.read()).partition(b"\r\n\r\n")
        assert b"Transfer-Encoding" not in head and text.startswith(b"data: {") and text.endswith(b"[DONE]\n\n")
        writer.close()


async def raw(served: Served, data: bytes) -> tuple[bytes, bytes]:
    """(head, body) of what the server answers to these bytes, until it closes the connection."""
    reader, writer = await asyncio.open_connection(*served.url.removeprefix("http://").split(":"))
    writer.write(data)
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head, body


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/9.9.9\r\n\r\n", 400, "malformed_request"),
        (b"G\x00T /health HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed_request"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400, "malformed_request"),
        (b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400, "malformed_request"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "malformed_request"),
        (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 3000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed_request"),  # TLS at a plain port
    ],
)
async def test_what_is_not_http_is_refused_in_openais_envelope_too(data: bytes, status: int, code: str):
    async with serving(limits=Limits(headers_bytes_max=2000)) as served:
        head, body = await raw(served, data)
        assert int(head.split()[1]) == status and b"application/json" in head and b"X-Request-Id" in head
        error = json.loads(body)["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["code"] == code
        assert (await served.ask("GET", "/health"))[0] == 200


async def test_heads_old_clients_and_last_requests_are_answered_as_http_has_it():
    async with serving() as served:
        head, body = await raw(served, b"HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK") and body == b""
        for ending in (b"HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"HTTP/1.0\r\n\r\n"):
            head, body = await raw(served, b"GET /health " + ending)
            assert head.split()[1] == b"200" and json.loads(body) == {"status": "Healthy"}
            assert b"Content-Length: 20" in head and b"X-Request-Id" in head


async def test_a_client_that_waits_before_it_sends_its_body_is_told_to_go_on():
    async with serving() as served:
        reader, writer = await asyncio.open_connection(*served.url.removeprefix("http://").split(":"))
        body = json.dumps(CHAT).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readline()).split()[1] == b"200"
        writer.close()


class Breaking:
    """An answer that fails after its first event."""

    async def pump(self, write: Write) -> None:
        write(b'data: {"choices":[]}\n\n')
        raise RuntimeError("inside")


async def test_a_stream_that_breaks_off_says_so_and_ends_as_a_stream():
    async with serving() as served:

        async def run(*_: object) -> Breaking:
            return Breaking()

        served.app.state.engine.run = run  # type: ignore[union-attr, method-assign, assignment]
        for _ in range(2):  # the connection goes on
            status, _, text = await served.ask("POST", "/v1/chat/completions", json=CHAT | {"stream": True})
            first, failed, done, empty = text.split("\n\n")
            assert (status, first, done, empty) == (200, 'data: {"choices":[]}', "data: [DONE]", "")
            assert json.loads(failed.removeprefix("data: "))["error"]["code"] == "internal_error"
        await settled(served)


async def test_https(tmp_path: Path):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "c.pem", tmp_path / "k.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with serving(certificate=chain, certificate_key=key, scheme="https") as served:
        assert (await served.ask("GET", "/health", ssl=context))[0] == 200
        _, _, text = await served.ask("POST", "/v1/chat/completions", json=CHAT | {"stream": True}, ssl=context)
        assert text.endswith("data: [DONE]\n\n")


async def test_traces_go_to_the_collector_as_children_of_the_callers():
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received = ExportTraceServiceRequest()

    async def collect(request: web.Request) -> web.Response:
        received.MergeFromString(await request.read())
        return web.Response(content_type="application/x-protobuf")

    collector = web.Application()
    collector.router.add_post("/v1/traces", collect)
    runner = web.AppRunner(collector)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    tracing = open_tracing(f"http://127.0.0.1:{runner.addresses[0][1]}", "test")
    caller = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
    async with serving(tracing=tracing) as served:
        await served.ask("POST", "/v1/chat/completions", json=CHAT, headers={"traceparent": caller})
        await asyncio.to_thread(tracing.close)
    await runner.cleanup()
    (span,) = [s for r in received.resource_spans for scope in r.scope_spans for s in scope.spans]
    assert span.name == "POST /v1/chat/completions"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == ("ab" * 16, "cd" * 8)
    assert {a.key: a.value.int_value for a in span.attributes}["http.response.status_code"] == 200


async def test_too_many_connections_are_told():
    async with serving(limits=Limits(connections_max=2)) as served:
        held = [await asyncio.open_connection(*served.url.removeprefix("http://").split(":")) for _ in range(2)]
        assert (await served.ask("GET", "/v1/models"))[0] == 503
        for _, writer in held:
            writer.close()


async def test_tokenize_and_back():
    async with serving() as served:
        _, _, found = await served.ask("POST", "/tokenize", json={"prompt": "a bb ccc", "return_token_strs": True})
        assert found == {
            "count": 3,
            "max_model_len": 1 << 20,
            "tokens": [1, 2, 3],
            "token_strs": [" word1", " word2", " word3"],
        }
        _, _, chat = await served.ask("POST", "/tokenize", json={"messages": [{"role": "user", "content": "a bb"}]})
        assert chat["tokens"] == [1, 2]
        assert (await served.ask("POST", "/detokenize", json={"tokens": [1, 2]}))[2] == {"prompt": " word1 word2"}
        assert (await served.ask("POST", "/detokenize", json={"tokens": [1 << 20]}))[0] == 400
        assert (await served.ask("POST", "/tokenize", json={}))[0] == 400


async def test_metrics_have_vllms_names_and_true_counts():
    async with serving() as served:
        await served.ask("POST", "/v1/chat/completions", json=CHAT)
        _, headers, text = await served.ask("GET", "/metrics")
        assert headers["Content-Type"].startswith("text/plain")
        label = '{engine="0",model_name="fake"}'
        for line in (
            f"vllm:generation_tokens_total{label} 3.0",
            f"vllm:prompt_tokens_total{label} 1.0",
            f"vllm:num_requests_running{label} 0.0",
            f"vllm:e2e_request_latency_seconds_count{label} 1.0",
            f"vllm:inter_token_latency_seconds_count{label} 2.0",
            'vllm:request_success_total{engine="0",finished_reason="length",model_name="fake"} 1.0',
        ):
            assert line in text, text


async def test_gpu_memory_is_in_bytes_and_absent_on_a_cpu():
    async with serving() as served:
        assert "kaito_gpu_memory_used_bytes{" not in (await served.ask("GET", "/metrics"))[2]
        served.generator.gpus = [GpuMemory("cuda:0", 20 << 30, 80 << 30)]
        _, _, text = await served.ask("GET", "/metrics")
        found = dict(re.findall(r'^kaito_gpu_memory_(\w+)_bytes\{device="cuda:0"\} (\S+)$', text, re.M))
        assert {name: float(value) for name, value in found.items()} == {"used": 20 << 30, "total": 80 << 30}


@pytest.mark.parametrize("logs_content", [False, True])
async def test_what_is_asked_is_in_the_log_only_where_that_was_asked_for(logs_content: bool):
    async with serving(logs_content=logs_content) as served:
        with structlog.testing.capture_logs() as lines:
            for options in ({}, {"stream": True}, {"temperature": "hot"}):
                body = CHAT | {"messages": [{"role": "user", "content": "a secret"}]} | options
                await served.ask("POST", "/v1/chat/completions", json=body)
    assert ("a secret" in json.dumps(lines, default=str)) is logs_content
