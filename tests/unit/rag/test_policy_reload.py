"""The guardrails' policy is read again when its content changes, and a broken one leaves the former in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaito.rag.guardrails.guard import Guard
from kaito.rag.metrics import Metrics
from kaito.rag.problems import Problem

BANS = "scanners:\n- {{type: ban_substrings, substrings: [{word}]}}\n"


def counts(metrics: Metrics) -> dict[str, float]:
    """Reloads by result."""
    return {
        result: metrics.registry.get_sample_value("guardrails_policy_reload_total", {"result": result}) or 0.0
        for result in ("success", "failure", "noop")
    }


async def said(guard: Guard, text: str) -> str:
    return (await guard.judge(guard.policy(), text)).text


async def test_a_change_is_taken_and_an_answer_keeps_the_policy_that_it_began_with(tmp_path: Path) -> None:
    path, metrics = tmp_path / "policy.yaml", Metrics()
    path.write_text(BANS.format(word="alpha"))
    guard = Guard(path, metrics)
    await guard.reload()
    begun = guard.policy()
    path.write_text(BANS.format(word="beta"))
    await guard.reload()
    assert await said(guard, "alpha beta") == "alpha [REDACTED]"
    assert (await guard.judge(begun, "alpha beta")).text == "[REDACTED] beta"
    assert counts(metrics) == {"success": 1, "failure": 0, "noop": 0}


@pytest.mark.parametrize("broken", [None, "scanners: [", "scanners: []", "\udcff"])
async def test_a_broken_change_leaves_the_former_policy_until_it_is_mended(tmp_path: Path, broken: str | None) -> None:
    path, metrics = tmp_path / "policy.yaml", Metrics()
    path.write_text(BANS.format(word="alpha"))
    guard = Guard(path, metrics)
    await guard.reload()
    if broken is None:
        path.unlink()
    else:
        path.write_bytes(broken.encode(errors="surrogateescape"))
    await guard.reload()
    assert await said(guard, "alpha beta") == "[REDACTED] beta"
    assert counts(metrics)["failure"] == 1
    path.write_text(BANS.format(word="beta"))
    await guard.reload()
    assert await said(guard, "alpha beta") == "alpha [REDACTED]"


async def test_a_config_maps_swapped_link_is_seen(tmp_path: Path) -> None:
    """kubelet writes a new folder and renames a link to it over the old one."""
    for name, word in (("first", "alpha"), ("second", "beta")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(BANS.format(word=word))
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    guard = Guard(tmp_path / "policy.yaml", Metrics())
    await guard.reload()
    (tmp_path / "..new").symlink_to("second")
    (tmp_path / "..new").rename(tmp_path / "..data")
    await guard.reload()
    assert await said(guard, "alpha beta") == "alpha [REDACTED]"


async def test_while_no_policy_could_be_read_every_answer_is_refused_with_the_fault(tmp_path: Path) -> None:
    path, metrics = tmp_path / "policy.yaml", Metrics()
    guard = Guard(path, metrics)
    await guard.reload()
    with pytest.raises(Problem, match="cannot be read"):
        guard.policy()
    path.write_text(BANS.format(word="alpha"))
    await guard.reload()
    assert await said(guard, "alpha") == "[REDACTED]"
