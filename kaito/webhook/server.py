"""The HTTPS face: /validate answers AdmissionReviews. Bounded in body, time and concurrency."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import msgspec
from aiohttp import web

from kaito.actors.models import Models
from kaito.api.core import CONFIG_MAP, ConfigMap, Node
from kaito.api.meta import Json, ObjectRef, ResourceKind
from kaito.clock import wall_clock
from kaito.kube.client import KubeClient
from kaito.kube.errors import ApiError, NotFound
from kaito.plan.catalog import lookup_text
from kaito.plan.model import access_secret, answer_key
from kaito.plan.validate import Evidence
from kaito.settings import PlanSettings
from kaito.state.view import Answer
from kaito.web.probes import parse_address
from kaito.webhook.review import NoReview, answer, config_maps_of, hub_models_of, request_of

BODY_BYTES_MAX = 8 << 20  # old and new object of up to 1.5 MiB each (etcd's limit), as JSON in JSON
CONCURRENT_MAX = 64
LOOKUP_S = 2.0  # this and the next are well below the 10 s that the API server waits
HUB_LOOKUP_S = 4.0
PATH = "/validate"


@dataclass(slots=True)
class Beside:
    """The view, and what was looked up for one request because nobody watches it yet."""

    view: Evidence
    found: dict[tuple[str, str], ConfigMap | None] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)  # of the model hub, by key

    def is_synced(self, kind: ResourceKind) -> bool:
        return self.view.is_synced(kind)

    def nodes(self, match_labels: dict[str, str]) -> tuple[Node, ...]:
        return self.view.nodes(match_labels)

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self.found.get((namespace, name)) or self.view.config_map(namespace, name)

    def is_synced_ref(self, kind: ResourceKind, namespace: str, name: str) -> bool:
        return (namespace, name) in self.found or self.view.is_synced_ref(kind, namespace, name)

    def answer(self, root: ObjectRef, key: str) -> Answer | None:
        return self.answers.get(key) or self.view.answer(root, key)


class Webhook:
    def __init__(
        self,
        client: KubeClient,
        view: Evidence,
        settings: PlanSettings,
        *,
        models: Models | None = None,
        on_answer: Callable[[Json, Json], None] = lambda _request, _response: None,
    ) -> None:
        self._client, self._view, self._settings, self._on_answer = client, view, settings, on_answer
        self._models = models
        self._running = 0

    async def validate(self, http: web.Request) -> web.Response:
        if self._running >= CONCURRENT_MAX:
            return web.Response(status=429, text="too many reviews at once", headers={"Retry-After": "1"})
        self._running += 1
        try:
            request = request_of(msgspec.json.decode(await http.read()))
            view = await self._looked_up(request)
            reviewed = answer(request, view, self._settings)
        except (NoReview, msgspec.DecodeError) as error:
            return web.Response(status=400, text=f"no AdmissionReview: {error}")
        finally:
            self._running -= 1
        self._on_answer(request, reviewed["response"])
        return web.Response(body=msgspec.json.encode(reviewed), content_type="application/json")

    async def _looked_up(self, request: Json) -> Beside:
        beside = Beside(self._view)
        with anyio.move_on_after(LOOKUP_S):
            await self._look_up_config_maps(request, beside)
        if self._models is not None and self._settings.hub_endpoint:
            with anyio.move_on_after(HUB_LOOKUP_S):
                for namespace, preset in hub_models_of(request):
                    found = await self._models.look_up(preset.name, access_secret(namespace, preset))
                    beside.answers[answer_key(preset.name)] = Answer(lookup_text(found), wall_clock())
        return beside

    async def _look_up_config_maps(self, request: Json, beside: Beside) -> None:
        for namespace, name in config_maps_of(request):
            if self._view.is_synced_ref(CONFIG_MAP, namespace, name):
                continue
            try:
                body = await self._client.read(CONFIG_MAP, CONFIG_MAP.ref(namespace, name))
                beside.found[namespace, name] = msgspec.convert(body, ConfigMap, strict=False)
            except NotFound:
                beside.found[namespace, name] = None
            except ApiError:
                continue  # not known: a warning


@asynccontextmanager
async def serve_webhook(address: str, webhook: Webhook, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serves for as long as the block lasts; yields the port."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_post(PATH, webhook.validate)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=30, shutdown_timeout=5)
    await runner.setup()
    try:
        host, port = parse_address(address)
        await web.TCPSite(runner, host, port, ssl_context=context).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
