"""docs/server-config.md and the OpenAPI document say what there is."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic

from kaito.inference.app import App
from kaito.inference.openapi import document
from kaito.inference.progress import StartProgress
from kaito.inference.reference import help_text, page
from kaito.inference.settings import ServerSettings


def test_the_page_is_what_the_flags_say():
    assert Path("docs/server-config.md").read_text(encoding="utf-8") == page()
    assert "--max-num-seqs" in help_text()


def test_the_document_has_every_path_and_method():
    table = App(ServerSettings(), StartProgress(monotonic)).routes.table
    served = {(path, method.lower()) for path, methods in table.items() for method in methods if method != "HEAD"}
    paths = json.loads(document())["paths"]
    assert {(path, method) for path, methods in paths.items() for method in methods} == served
