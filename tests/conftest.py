"""What holds for every test, and what each leaves as it found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# An example that takes long says that the machine is busy, not that a law does not hold.
settings.register_profile("kaito", deadline=None)
settings.load_profile("kaito")


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A test that sets up logs for its process does not do so for the next one."""
    yield
    structlog.reset_defaults()
