"""`kaito operator` before it speaks to a cluster."""

from __future__ import annotations

import pytest

from kaito.cli import run


def test_a_cloud_of_the_environment_that_nobody_knows_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLOUD_PROVIDER", "gcp")
    assert run(["operator", "--log-format", "json"]) == 2
    assert "CLOUD_PROVIDER='gcp': use one of azure, aws, arc" in capsys.readouterr().err


def test_an_address_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["operator", "--metrics-bind-address", "here"]) == 2
    assert "'here'" in capsys.readouterr().err
