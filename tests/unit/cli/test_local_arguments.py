"""The flags of `kaito local up` and `kaito demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from kaito.cli.cluster_arguments import add_cluster_arguments, cluster_settings, faults_help, parse_delays
from kaito.local.cluster_settings import ClusterSettings
from kaito.local.robots.settings import FAULTS, Fault, StageDelays


def parse(*words: str, directory: Path = Path("/nowhere")) -> ClusterSettings:
    parser = argparse.ArgumentParser()
    add_cluster_arguments(parser)
    return cluster_settings(parser.parse_args(words), directory=directory, kubeconfig=directory / "kubeconfig")


def test_defaults():
    settings = parse()
    assert (settings.port, settings.pods, settings.minor, settings.robots.delays) == (0, "real", 36, StageDelays())
    assert settings.known_images["ghcr.io/kaito-project/kaito-py-inference:*"] == ("python", "-m", "kaito.inference")


def test_every_flag_arrives_where_it_belongs(tmp_path: Path):
    (tmp_path / "config.json").touch()
    settings = parse(
        *("--port", "8443", "--pods", "instant", "--emulate", "1.20", "--weights", str(tmp_path)),
        *("--image", "python:*", "--delay", "launch=3", "--delay", "image-pull=0s", "--fault", "quota-exceeded@x*"),
    )
    assert (settings.port, settings.pods, settings.minor, settings.weights) == (8443, "instant", 20, tmp_path)
    assert settings.robots.cluster_minor == 20
    assert (settings.robots.delays.launch_s, settings.robots.delays.image_pull_s) == (3, 0)
    assert settings.robots.faults == (Fault("quota-exceeded", "", "x*"),)
    assert settings.known_images["python:*"] == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--port", "x"), "--port 'x'"),
        (("--port", "70000"), "65535"),
        (("--emulate", "2"), "--emulate '2'"),
        (("--delay", "lunch=3"), "choose one of launch"),
        (("--delay", "launch=soon"), "such as launch=30s"),
        (("--delay", "launch=-1"), "expected seconds"),
        (("--weights", "/no/such/folder"), "not a folder"),
        (("--fault", "bad luck"), "unknown fault"),
    ],
)
def test_a_bad_value_is_named_with_its_flag_and_the_remedy(words: tuple[str, ...], message: str):
    with pytest.raises(ValueError, match=message):
        parse(*words)


def test_the_last_delay_wins():
    assert parse_delays(["launch=3", "launch=4s"]).launch_s == 4


def test_help_names_every_fault():
    text = faults_help()
    assert all(name in text for name in FAULTS)
