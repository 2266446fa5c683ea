"""A folder of text as documents for a retrieval service: Markdown by its sections, everything else by file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kaito.api.meta import Json

SUFFIXES = frozenset({".md", ".rst", ".txt"})
FILE_BYTES_MAX = 1 << 20
DOCUMENTS_MAX = 5_000
HEADING = re.compile(r"#{1,3} +(.+)")
FENCE = "```"


def documents_of(folder: Path) -> list[Json]:
    """What `POST /index` takes: texts, with file and section as metadata. Raises ValueError."""
    if not folder.is_dir():
        raise ValueError(f"--docs {str(folder)!r}: not a folder; name one with {', '.join(sorted(SUFFIXES))} files")
    found: list[Json] = []
    name = folder.resolve().name
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and path.stat().st_size <= FILE_BYTES_MAX:
            text = path.read_text(encoding="utf-8", errors="replace")
            sections = _sections(text, path.stem) if path.suffix.lower() == ".md" else iter([(path.stem, text)])
            found += [
                {"text": body, "metadata": {"file": f"{name}/{path.relative_to(folder)}", "section": section}}
                for section, body in sections
                if body.strip()
            ]
    if not 0 < len(found) <= DOCUMENTS_MAX:
        raise ValueError(f"--docs {str(folder)!r}: {len(found)} sections of text; expected 1 to {DOCUMENTS_MAX}")
    return found


def _sections(text: str, title: str) -> Iterator[tuple[str, str]]:
    """The heading and all lines of each section, the heading's own among them; a heading in a code block is none."""
    lines: list[str] = []
    is_code = False
    for line in text.splitlines():
        is_code ^= line.lstrip().startswith(FENCE)
        if not is_code and (heading := HEADING.fullmatch(line)):
            yield title, "\n".join(lines).strip()
            title, lines = heading[1], []
        lines.append(line)
    yield title, "\n".join(lines).strip()
