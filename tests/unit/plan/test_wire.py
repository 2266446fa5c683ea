"""Every action has a form for the journal: a dump that raises would hide the crash that it is to explain."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from kaito.api.core import POD
from kaito.api.workspace import WORKSPACE
from kaito.plan.actions import Read
from kaito.plan.wire import actions_json

SOURCES = get_args(get_type_hints(Read)["source"])


@pytest.mark.parametrize("source", SOURCES)
def test_a_read_of_every_source_is_written_into_the_journal(source: str) -> None:
    read = Read(WORKSPACE.ref("default", "phi"), "key", source, POD.ref("default", "phi-0"), "main", "why", uid="u")  # type: ignore[arg-type]
    (written,) = actions_json((read,))
    assert written["source"] == source and written["key"] == "key" and written["reason"] == "why"
