"""The admission server: what it answers, over TLS, and how its certificate is made, shared and rotated."""

from __future__ import annotations

import asyncio
import base64
import itertools
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import anyio
import pytest

from kaito.api.core import CONFIG_MAP, SECRET
from kaito.api.meta import Json
from kaito.cli.webhook_manifest import configuration
from kaito.clock import wall_clock
from kaito.kube.errors import Forbidden
from kaito.local.apiserver import ApiServer
from kaito.local.client import LocalClient
from kaito.plan.validate import NothingKnown
from kaito.settings import PlanSettings
from kaito.webhook import server as face
from kaito.webhook.certificate import LIFE, certificate_in, is_fresh, make_certificate
from kaito.webhook.keeper import CONFIGURATION, CONFIGURATION_NAME, SECRET_NAME, Keeper
from kaito.webhook.review import answer, request_of
from kaito.webhook.server import Webhook, serve_webhook
from tests.builders import START, World, config_map, moment, workspace

SPACE, NAMES, SETTINGS = "default", ("localhost",), PlanSettings()


def client() -> LocalClient:
    ids = itertools.count()
    server = ApiServer(now=moment, new_uid=lambda: f"uid-{next(ids)}")
    server.start()
    return LocalClient(server)


def asked(new: Json | None, old: Json | None = None, operation: str = "CREATE", **more: Any) -> Json:
    kind = {"group": "kaito.sh", "version": "v1beta1", "kind": "Workspace"}
    request = {"uid": "u1", "kind": kind, "operation": operation, "object": new, "oldObject": old} | more
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def told(review: Json, world: Any = None) -> Json:
    return answer(request_of(review), world or World(), SETTINGS)["response"]


def test_what_is_right_is_allowed_under_the_uid_of_the_request() -> None:
    assert told(asked(workspace())) == {"uid": "u1", "allowed": True}


def test_a_refusal_is_a_422_with_a_cause_per_field() -> None:
    response = told(asked(workspace(preset="phi-35")))
    status = response["status"]
    assert (response["allowed"], status["code"], status["reason"]) == (False, 422, "Invalid")
    assert [cause["field"] for cause in status["details"]["causes"]] == ["inference.preset.name"]
    message = status["details"]["causes"][0]["message"]
    assert not message.startswith("inference."), "kubectl prints the field before it"
    assert "[preset-known]" in status["message"] and "did you mean" in status["message"]


def test_doubts_are_warnings_with_and_without_a_view() -> None:
    body = workspace(config="mine")
    assert "there is no such ConfigMap" in told(asked(body))["warnings"][0]
    assert "not checked" in told(asked(body), NothingKnown())["warnings"][0]


def test_deletions_are_let_through_whatever_they_hold() -> None:
    broken = workspace(preset=None, deletionTimestamp="2026-01-01T00:00:00Z")
    assert told(asked(broken, broken, "UPDATE"))["allowed"]
    assert told(asked(None, broken, "DELETE"))["allowed"]


@pytest.mark.parametrize("review", [[], {}, {"apiVersion": "admission.k8s.io/v1beta1"}, asked(None) | {"request": {}}])
def test_what_is_no_review_is_named(review: Any) -> None:
    with pytest.raises(ValueError, match=r"AdmissionReview|uid"):
        request_of(review)


def test_a_certificate_is_fresh_for_its_own_names_until_three_months_before_its_end() -> None:
    made = make_certificate(NAMES, START)
    assert is_fresh(made, NAMES, START)
    assert not is_fresh(made, ("other",), START)
    assert not is_fresh(made, NAMES, START + LIFE - timedelta(days=89))
    other = make_certificate(NAMES, START)
    mixed = type(made)(made.ca_pem, made.cert_pem, other.key_pem)
    assert not is_fresh(mixed, NAMES, START)
    assert certificate_in({"data": made.as_data()}) == made
    assert certificate_in({"data": {"ca-cert.pem": "!"}}) is None and certificate_in({}) is None


async def installed() -> LocalClient:
    found = client()
    await found.create(CONFIGURATION, "", configuration())
    return found


def keeper(on: LocalClient, day: int = 0) -> Keeper:
    return Keeper(on, namespace=SPACE, names=NAMES, now=lambda: START + timedelta(days=day))


async def bundles(on: LocalClient) -> list[bytes]:
    found = await on.read(CONFIGURATION, CONFIGURATION.ref("", CONFIGURATION_NAME))
    return [base64.b64decode(hook["clientConfig"]["caBundle"]) for hook in found["webhooks"]]


async def test_replicas_share_one_certificate_and_the_configuration_trusts_it() -> None:
    on = await installed()
    await keeper(on).settle()
    first = await on.read(SECRET, SECRET.ref(SPACE, SECRET_NAME))
    await keeper(on).settle()
    assert await on.read(SECRET, SECRET.ref(SPACE, SECRET_NAME)) == first
    found = certificate_in(first)
    assert found is not None and {text.strip() for text in await bundles(on)} == {found.ca_pem.strip()}


async def test_a_settled_keeper_writes_nothing() -> None:
    on = await installed()
    kept = keeper(on)
    await kept.settle()
    version = on.server.store.version
    await kept.settle()
    assert on.server.store.version == version


async def test_an_old_certificate_is_renewed_and_both_authorities_are_trusted_meanwhile() -> None:
    on = await installed()
    await keeper(on).settle()
    old = certificate_in(await on.read(SECRET, SECRET.ref(SPACE, SECRET_NAME)))
    await keeper(on, day=300).settle()
    new = certificate_in(await on.read(SECRET, SECRET.ref(SPACE, SECRET_NAME)))
    assert old and new and old != new
    for text in await bundles(on):
        assert text.startswith(new.ca_pem.strip()) and old.ca_pem.strip() in text
    await keeper(on, day=600).settle()
    assert all(old.ca_pem.strip() not in text for text in await bundles(on))


async def served_by(context: ssl.SSLContext) -> bytes:
    """The certificate that whoever connects now is shown, in PEM."""
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=careless)
        shown = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.close()
    return ssl.DER_cert_to_PEM_cert(shown).strip().encode()


async def test_a_renewed_certificate_is_served_once_its_authority_is_trusted_and_not_before() -> None:
    on, day, is_refusing = await installed(), 0, False

    class Refusing(LocalClient):
        async def merge_patch(self, kind: Any, *given: Any, **more: Any) -> Json:
            if kind == CONFIGURATION and is_refusing:
                raise Forbidden("may not patch it")
            return await super().merge_patch(kind, *given, **more)

    kept = Keeper(Refusing(on.server), namespace=SPACE, names=NAMES, now=lambda: START + timedelta(days=day))
    await kept.settle()
    old = await served_by(kept.context)
    day, is_refusing = 300, True
    with pytest.raises(Forbidden):
        await kept.settle()
    assert await served_by(kept.context) == old
    is_refusing = False
    await kept.settle()
    new = certificate_in(await on.read(SECRET, SECRET.ref(SPACE, SECRET_NAME)))
    assert new is not None and await served_by(kept.context) == new.cert_pem.strip() != old


async def test_an_emptied_secret_is_filled_again() -> None:
    on = await installed()
    await on.create(SECRET, SPACE, {"metadata": {"name": SECRET_NAME, "namespace": SPACE}, "data": {}})
    await keeper(on).settle()
    assert certificate_in(await on.read(SECRET, SECRET.ref(SPACE, SECRET_NAME)))


@asynccontextmanager
async def serving(on: LocalClient, view: Any = None) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    kept = Keeper(on, namespace=SPACE, names=NAMES, now=wall_clock)
    await kept.settle()
    made = certificate_in(await on.read(SECRET, SECRET.ref(SPACE, SECRET_NAME)))
    assert made is not None
    trust = ssl.create_default_context(cadata=made.ca_pem.decode())
    async with serve_webhook("127.0.0.1:0", Webhook(on, view or NothingKnown(), SETTINGS), kept.context) as port:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session:
            yield session, f"https://localhost:{port}/validate"


async def test_over_tls_a_config_map_that_nobody_watches_is_looked_up() -> None:
    on = client()
    wrong = config_map("mine", inference_config__yaml="vllm: {max-model-len: many}")
    await on.create(CONFIG_MAP, SPACE, wrong | {"metadata": {"name": "mine", "namespace": SPACE}})
    async with serving(on) as (session, url):
        async with session.post(url, json=asked(workspace(config="mine"))) as got:
            response = (await got.json())["response"]
    assert got.status == 200 and not response["allowed"] and "'many'" in response["status"]["message"]


async def test_a_lookup_that_is_not_allowed_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(LocalClient):
        async def read(self, kind: Any, ref: Any) -> Json:
            if kind == CONFIG_MAP:
                raise Forbidden("no")
            return await super().read(kind, ref)

    async with serving(Blind(client().server)) as (session, url):
        async with session.post(url, json=asked(workspace(config="mine"))) as got:
            response = (await got.json())["response"]
    assert response["allowed"] and "not checked" in response["warnings"][0]


async def test_bodies_that_are_wrong_or_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "BODY_BYTES_MAX", 1000)
    async with serving(client()) as (session, url):
        async with session.post(url, data=b"{") as got:
            assert got.status == 400
        async with session.post(url, data=b"x" * 2000) as got:
            assert got.status == 413


async def test_more_reviews_than_the_limit_are_asked_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "CONCURRENT_MAX", 1)
    gate, entered = anyio.Event(), anyio.Event()

    class Slow(LocalClient):
        async def read(self, kind: Any, ref: Any) -> Json:
            if kind == CONFIG_MAP:
                entered.set()
                await gate.wait()
            return await super().read(kind, ref)

    statuses: list[int] = []
    async with serving(Slow(client().server)) as (session, url):

        async def one() -> None:
            async with session.post(url, json=asked(workspace(config="mine"))) as got:
                statuses.append(got.status)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            await entered.wait()
            await one()
            gate.set()
    assert statuses == [429, 200]
