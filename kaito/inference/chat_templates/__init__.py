"""Chat templates of our own, for models whose tokenizer's template knows no tools: `--chat-template NAME`."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def own_template(given: str) -> str:
    """The file of our own template of this name, in whatever folder; else what was given: a file, or a template."""
    if not given.endswith(".jinja") or "\n" in given or Path(given).is_file():
        return given
    found = FOLDER / Path(given).name
    return str(found) if found.is_file() else given
