"""One service with the real MiniLM model, and one fake language model, for the whole session."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.rag_api import fake_llm
from tests.contract.rag_api.fake_llm import FakeLlm
from tests.contract.rag_api.service import Rag, environment, running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def llm_server() -> AsyncIterator[FakeLlm]:
    async with fake_llm.serving() as llm:
        yield llm


@pytest.fixture
def llm(llm_server: FakeLlm) -> FakeLlm:
    """The fake language model, with nothing asked yet."""
    llm_server.reset()
    return llm_server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rag(llm_server: FakeLlm, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rag]:
    storage = tmp_path_factory.mktemp("rag") / "storage"
    async with running(storage, environment(storage, llm_server.url)) as service:
        yield service


@pytest.fixture
def index(request: pytest.FixtureRequest) -> str:
    """A name of an index that no other test uses."""
    return "i" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
