from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito.images import ImageName, parse_image

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("busybox", ImageName("docker.io", "library/busybox")),
        ("org/adapter:1.0", ImageName("docker.io", "org/adapter", "1.0")),
        ("ghcr.io/org/adapter:v1_2", ImageName("ghcr.io", "org/adapter", "v1_2")),
        ("localhost/a", ImageName("localhost", "a")),
        ("127.0.0.1:5000/a/b-c/d__e", ImageName("127.0.0.1:5000", "a/b-c/d__e")),
        (f"r.io/a:t@{DIGEST}", ImageName("r.io", "a", "t", DIGEST)),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text: str, parts: ImageName) -> None:
    assert parse_image(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "a b",
        "a:",
        "a@sha256:12",
        "r.io/",
        "r.io//a",
        "a/B",
        "a:" + "t" * 129,
        "-a",
        "a" * 256,
        "http://r.io/a",
    ],
)
def test_what_is_no_name_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="is not the name of an image: expected"):
        parse_image(text)


@given(st.text())
def test_a_name_that_is_read_is_written_so_that_it_is_read_again(text: str) -> None:
    try:
        found = parse_image(text)
    except ValueError:
        return
    assert parse_image(str(found)) == found
