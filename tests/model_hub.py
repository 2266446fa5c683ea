"""ModelHub: an HTTP server that speaks the hub's listing and config endpoints, with tokens, licences and bad days."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

# The shape of phi-3.5-mini: what the catalogue says of it must come out.
CONFIG: dict[str, Any] = {
    "architectures": ["Phi3ForCausalLM"],
    "max_position_embeddings": 131072,
    "hidden_size": 3072,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
}
SIZES = {"model-00001-of-00002.safetensors": 4_000_000_000, "model-00002-of-00002.safetensors": 3_642_159_104}
FILES = {**SIZES, "config.json": 1_000}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Repository:
    """`readers`: the tokens that may see a private one. `licensed`: those that have accepted its licence, if gated."""

    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))
    files: dict[str, int] = field(default_factory=lambda: dict(FILES))
    license: str = "mit"
    readers: frozenset[str] | None = None
    licensed: frozenset[str] | None = None


class ModelHub:
    """`special` answers for a path first; `asked` are the paths in order, `tokens` what came with each."""

    def __init__(self, **repositories: Repository) -> None:
        self.repositories = {name.replace("__", "/"): each for name, each in repositories.items()}
        self.special: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.tokens: list[str] = []
        self.address = ""

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self.address
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked.append(request.path)
        self.tokens.append(token)
        if request.path in self.special:
            return await self.special[request.path](request)
        if request.path.startswith("/api/models/"):
            return self._listing(request.path.removeprefix("/api/models/"), token)
        name, _, file = request.path.removeprefix("/").partition("/resolve/main/")
        return self._file(name, file, token)

    def _seen(self, name: str, token: str) -> Repository | None:
        found = self.repositories.get(name)
        return found if found and (found.readers is None or token in found.readers) else None

    def _listing(self, name: str, token: str) -> web.Response:
        found = self._seen(name, token)
        if found is None:
            return refusal(401, "RepoNotFound")  # as the hub does: it does not tell what is private from what is not
        return web.json_response(
            {
                "id": name,
                "siblings": [{"rfilename": path, "size": size} for path, size in found.files.items()],
                "cardData": {"license": found.license},
                "gated": "manual" if found.licensed is not None else False,
            }
        )

    def _file(self, name: str, file: str, token: str) -> web.Response:
        found = self._seen(name, token)
        if found is None:
            return refusal(401, "RepoNotFound")
        if found.licensed is not None and token not in found.licensed:
            return refusal(403 if token else 401, "GatedRepo")
        if file not in found.files:
            return refusal(404, "EntryNotFound")
        return web.json_response(found.config)


def refusal(status: int, code: str = "", **headers: str) -> web.Response:
    return web.Response(status=status, headers=({"X-Error-Code": code} if code else {}) | headers)


def answering(response: Callable[[], web.StreamResponse]) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return response()

    return answer
