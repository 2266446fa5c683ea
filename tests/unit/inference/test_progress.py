"""How a start is told: lines of the log, and seconds of every stage."""

from __future__ import annotations

from structlog.testing import capture_logs

from kaito.inference.engine import Progress
from kaito.inference.engines.download import progress_of
from kaito.inference.progress import LOG_PERIOD_S, StartProgress

MIB = 1 << 20


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_each_stage_is_logged_at_once_and_a_long_one_again_every_period():
    clock = Clock()
    progress = StartProgress(clock)
    with capture_logs() as lines:
        progress.report(Progress("downloading"))
        for second in range(int(LOG_PERIOD_S * 2) + 1):
            clock.now_s = 100 + second
            progress.report(progress_of([(0.0, 0), (second + 1.0, (second + 1) * 50 * MIB)], 2000 * MIB))
        progress.report(Progress("loading"))
    assert [line["progress"] for line in lines] == [
        "downloading",
        "downloading: 550 of 2,000 MiB at 50.0 MiB/s, 29 s left",
        "downloading: 1,050 of 2,000 MiB at 50.0 MiB/s, 19 s left",
        "loading",
    ]


def test_every_stage_has_its_seconds_and_the_whole_is_their_sum():
    clock = Clock()
    progress = StartProgress(clock)
    for stage, seconds in (("downloading", 7), ("loading", 5), ("warming up", 3)):
        progress.report(Progress(stage))
        clock.now_s += seconds
    assert progress.ready() == 15
    text = progress.exposition().decode()
    for stage, seconds in (("starting", 0), ("downloading", 7), ("loading", 5), ("warming up", 3)):
        assert f'kaito_start_stage_seconds{{stage="{stage}"}} {seconds:.1f}' in text
    assert "kaito_model_download_remaining_seconds 0.0" in text


def test_a_rate_needs_two_samples_and_what_is_not_known_is_minus_one():
    assert progress_of([(5.0, 10)], 100) == Progress("downloading", 10, 100, 0.0, -1.0)
    assert progress_of([(5.0, 10), (7.0, 30)], 0) == Progress("downloading", 30, 0, 10.0, -1.0)
    assert progress_of([(5.0, 10), (7.0, 30)], 100) == Progress("downloading", 30, 100, 10.0, 7.0)
    assert progress_of([(5.0, 10), (7.0, 30)], 20) == Progress("downloading", 30, 20, 10.0, 0.0)  # the hub said less
