"""Chat templates of our own, for models whose tokenizer's template knows no tools: `--chat-template NAME`."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def own_template(given: str) -> str:
    """The file of our own template of this name; what was given where it is a file, a template, or nobody's name."""
    found = FOLDER / Path(given).name
    is_name = bool(given) and "{" not in given and "\n" not in given
    return (
        str(found) if is_name and not Path(given).is_file() and found.suffix == ".jinja" and found.is_file() else given
    )
