"""The log as the engine's source, while it cannot be read."""

from __future__ import annotations

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from connectors.log import open_log
from connectors.log.settings import EmbeddedLogSettings
from connectors.sinks.base import Progress
from connectors.source import IDLE, LogSource, Stop, next_look
from tests.flows.pipelines import STREAM, append, until
from tests.logged import logged


class Open(Progress):
    """Destinations that have room for ever."""

    def may_read(self, partition: int) -> bool:
        return True


def test_a_source_whose_log_is_away_asks_it_seldom_and_wakes_as_often_as_ever(tmp_path: Path) -> None:
    """An epoch ends for all sources or for none: one that slept past its end had the engine spin until it woke."""
    log = open_log(EmbeddedLogSettings(path=tmp_path / "log", partitions=1))
    append(log, [{"source": "app", "event": {}}])
    source = LogSource(lambda: log, [0], Open(), Stop(), {}, {STREAM: "pay"}, "test")
    part = source.build_part("log", "00000", None)
    until(part.next_batch, what="the batch")
    shutil.rmtree(tmp_path / "log")
    with logged() as lines:
        until(lambda: part.next_batch() or lines, what="the log that is away")
        for _ in range(5):
            assert part.next_batch() == []
            awake = part.next_awake()
            assert awake is not None
            assert awake - datetime.now(UTC) < timedelta(seconds=0.1)
    assert [line["event"] for line in lines] == ["the log cannot be read; trying again"]
    part.close()
    log.close()


def test_sources_that_have_nothing_look_again_together_whenever_each_of_them_looked_last() -> None:
    """Else each that was held up once keeps an instant of its own for good, and the engine makes a round for each."""
    for _ in range(50):
        before = datetime.now(UTC)
        look = next_look()
        assert before < look <= datetime.now(UTC) + IDLE
        assert (look - datetime(2000, 1, 1, tzinfo=UTC)) % IDLE == timedelta(0)
        time.sleep(0.0007)
