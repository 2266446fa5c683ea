"""What the demo gives a retrieval service to index."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito.cli.demo_docs import documents_of


def test_markdown_is_split_at_its_headings_and_never_within_code(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.md").write_text("before\n\n# One\n\n```\n# no heading\n```\n\n## Two\ntext\n### Empty\n")
    (folder / "deep" / "b.txt").write_text("# all of it\n## is one\n")
    (folder / "c.py").write_text("# not a text")
    assert [(one["metadata"]["file"], one["metadata"]["section"], one["text"]) for one in documents_of(folder)] == [
        ("notes/a.md", "a", "before"),
        ("notes/a.md", "One", "# One\n\n```\n# no heading\n```"),
        ("notes/a.md", "Two", "## Two\ntext"),
        ("notes/a.md", "Empty", "### Empty"),
        ("notes/deep/b.txt", "b", "# all of it\n## is one\n"),
    ]


def test_this_projects_docs_are_all_there() -> None:
    files = {one["metadata"]["file"] for one in documents_of(Path("docs"))}
    assert files == {f"docs/{path.relative_to('docs')}" for path in Path("docs").rglob("*.md")}


def test_a_folder_with_nothing_to_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 sections of text"):
        documents_of(tmp_path)
