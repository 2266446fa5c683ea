"""Admission webhooks: who is asked, what they may change, and what happens when they do not answer."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web

from kaito.api.meta import Json
from kaito.clock import wall_clock
from kaito.local.http.certificate import server_context
from kaito.local.http.webhook_calls import matches
from tests.unit.local.http.face import Face, config_map, face

MAPS = "/api/v1/namespaces/default/configmaps"
BASE = "/apis/admissionregistration.k8s.io/v1"
Answer = Callable[[Json], Json]


class Hook:
    """A webhook over HTTPS that answers as it is told, and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.asked = answer, list[Json]()
        self.port, self.authority = 0, ""

    async def respond(self, request: web.Request) -> web.Response:
        review = await request.json()
        self.asked.append(review["request"])
        response = {"uid": review["request"]["uid"], "allowed": True} | self.answer(review["request"])
        return web.json_response({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response})


@asynccontextmanager
async def hook(answer: Answer = lambda _: {}) -> AsyncIterator[Hook]:
    found = Hook(answer)
    context, found.authority = server_context(wall_clock)
    app = web.Application()
    app.router.add_post("/check", found.respond)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        found.port = runner.addresses[0][1]
        yield found
    finally:
        await runner.cleanup()


async def register(api: Face, found: Hook, *, mutating: bool = False, **more: Any) -> None:
    bundle = base64.b64encode(found.authority.encode()).decode()
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}
    webhook = {
        "name": "check.kaito.sh",
        "clientConfig": {"url": f"https://127.0.0.1:{found.port}/check", "caBundle": bundle},
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    } | more
    plural = "mutatingwebhookconfigurations" if mutating else "validatingwebhookconfigurations"
    body = {"metadata": {"name": "check"}, "webhooks": [webhook]}
    status, made = await api.ask("POST", f"{BASE}/{plural}", body)
    assert status == 201, made


def patch(*operations: Json) -> Json:
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


async def test_a_webhook_that_says_no_keeps_the_object_out_with_its_words() -> None:
    def answer(request: Json) -> Json:
        is_bad = "bad" in (request["object"] or {}).get("data", {})
        return (
            {"allowed": False, "status": {"message": "data.bad: not wanted here"}} if is_bad else {"warnings": ["hm"]}
        )

    async with hook(answer) as found, face() as api:
        await register(api, found)
        status, refused = await api.ask("POST", MAPS, config_map("a", data={"bad": "1"}))
        words = 'admission webhook "check.kaito.sh" denied the request: data.bad: not wanted here'
        assert (status, refused["message"]) == (403, words)
        assert (await api.ask("GET", f"{MAPS}/a"))[0] == 404
        async with api.request("POST", MAPS, json=config_map("a")) as made:
            assert (made.status, made.headers["Warning"]) == (201, '299 - "hm"')
        headers = {"Content-Type": "application/merge-patch+json"}
        assert (await api.ask("PATCH", f"{MAPS}/a", {"data": {"bad": "1"}}, **headers))[0] == 403
        assert (await api.ask("DELETE", f"{MAPS}/a"))[0] == 200
        assert [request["operation"] for request in found.asked] == ["CREATE", "CREATE", "UPDATE", "DELETE"]
        update = found.asked[2]
        assert (update["name"], update["namespace"]) == ("a", "default")
        assert ("bad" in update["object"]["data"], "data" in update["oldObject"]) == (True, False)


async def test_a_mutating_webhook_changes_what_is_stored_and_what_the_others_see() -> None:
    def label(request: Json) -> Json:
        return patch({"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}})

    async with hook(label) as first, hook() as second, face() as api:
        await register(api, first, mutating=True)
        await register(api, second)
        _, made = await api.ask("POST", MAPS, config_map("a"))
        assert made["metadata"]["labels"] == {"seen": "yes"}
        assert (await api.ask("GET", f"{MAPS}/a"))[1]["metadata"]["labels"] == {"seen": "yes"}
        assert second.asked[0]["object"]["metadata"]["labels"] == {"seen": "yes"}


@pytest.mark.parametrize("policy", ["Fail", "Ignore"])
async def test_a_webhook_that_is_not_there_fails_or_is_ignored_as_its_policy_says(policy: str) -> None:
    async with face() as api:
        async with hook() as found:
            pass
        await register(api, found, failurePolicy=policy)
        status, made = await api.ask("POST", MAPS, config_map("a"))
        assert status == (500 if policy == "Fail" else 201)
        assert policy == "Ignore" or 'failed calling webhook "check.kaito.sh"' in made["message"]


async def test_a_certificate_of_another_authority_is_not_taken() -> None:
    async with hook() as found, hook() as other, face() as api:
        found.authority = other.authority
        await register(api, found)
        status, refused = await api.ask("POST", MAPS, config_map("a"))
        assert (status, "certificate verify failed" in refused["message"]) == (500, True)
        assert found.asked == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"uid": "another"}, "expected an answer to"),
        ({"patchType": "JSONPatch", "patch": "%"}, "its patch is no JSON patch"),
    ],
)
async def test_an_answer_that_is_none_is_a_failure(answer: Json, words: str) -> None:
    async with hook(lambda _: answer) as found, face() as api:
        await register(api, found, mutating=True)
        status, refused = await api.ask("POST", MAPS, config_map("a"))
        assert (status, words in refused["message"]) == (500, True), refused


async def test_a_webhook_without_dry_runs_is_not_called_in_one() -> None:
    async with hook() as found, face() as api:
        await register(api, found, sideEffects="Unknown")
        status, refused = await api.ask("POST", f"{MAPS}?dryRun=All", config_map("a"))
        assert (status, "does not support dry run" in refused["message"]) == (400, True)
        assert found.asked == []


async def test_rules_and_selectors_choose() -> None:
    async with hook() as found, face() as api:
        selector = {"matchLabels": {"check": "me"}}
        await register(api, found, objectSelector=selector)
        await api.ask("POST", MAPS, config_map("a"))
        await api.ask("POST", MAPS, config_map("b", metadata={"name": "b", "labels": {"check": "me"}}))
        await api.ask(
            "POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "c", "labels": {"check": "me"}}}
        )
        assert [request["name"] for request in found.asked] == ["b"]


async def test_a_webhook_behind_a_service_is_found_and_its_name_checked() -> None:
    async with hook() as found, face() as api:
        space = "kubernetes"
        service = {"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"ports": [{"port": 443}]}}
        await api.ask("POST", "/api/v1/namespaces/default/services", service)
        address = {"ip": "10.1.2.3", "targetRef": {"kind": "Pod", "name": "p"}}
        subsets = [{"addresses": [address], "ports": [{"port": 9443}]}]
        await api.ask("POST", "/api/v1/namespaces/default/endpoints", {"metadata": {"name": space}, "subsets": subsets})
        api.pods.places[("p", 9443)] = ("127.0.0.1", found.port)
        bundle = base64.b64encode(found.authority.encode()).decode()
        config = {"service": {"namespace": "default", "name": space, "path": "/check"}, "caBundle": bundle}
        await register(api, found, clientConfig=config)
        assert (await api.ask("POST", MAPS, config_map("a")))[0] == 201
        assert len(found.asked) == 1


async def test_an_object_that_changes_while_webhooks_think_is_looked_at_again() -> None:
    async with face() as api:
        seen: list[str] = []

        def answer(request: Json) -> Json:
            seen.append(request["oldObject"]["data"]["x"])
            if len(seen) == 1:
                maps = api.core.registry.find("", "v1", "configmaps")
                api.core.patch(maps, "default", "a", {"data": {"x": "2"}}, "application/merge-patch+json")
            return {}

        async with hook(answer) as found:
            await api.ask("POST", MAPS, config_map("a", data={"x": "1"}))
            await register(api, found)
            headers = {"Content-Type": "application/merge-patch+json"}
            with anyio.fail_after(10):
                status, made = await api.ask("PATCH", f"{MAPS}/a", {"data": {"y": "3"}}, **headers)
        assert (status, made["data"], seen) == (200, {"x": "2", "y": "3"}, ["1", "2"])


@pytest.mark.parametrize(
    ("expression", "is_met"),
    [
        ({"key": "a", "operator": "In", "values": ["1"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "b", "operator": "NotIn", "values": ["1"]}, True),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "b", "operator": "DoesNotExist"}, True),
        ({"key": "a", "operator": "Near"}, False),
    ],
)
def test_label_selectors(expression: Json, is_met: bool) -> None:
    assert matches({"matchExpressions": [expression]}, {"metadata": {"labels": {"a": "1"}}}) is is_met
    assert matches({}, {"metadata": {}})
