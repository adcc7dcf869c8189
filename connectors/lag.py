"""How far the destinations are behind the log, by partition: measured beside the dataflow, which never waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from connectors.errors import HeadraceError
from connectors.log import Log, Reader
from connectors.sinks.base import Progress
from connectors.telemetry import LOG_LAG

SECONDS = 2.0

_GROUP = "headrace.looking"  # nothing is committed under this name


def follow_lag(log: Log, partitions: Sequence[int], progress: Progress) -> None:
    """Measures from now on, in a thread of its own, while the log can be asked."""
    threading.Thread(target=_follow, args=(log, partitions, progress), name="follow-lag", daemon=True).start()


def _follow(log: Log, partitions: Sequence[int], progress: Progress) -> None:
    reader: Reader | None = None
    while True:
        time.sleep(SECONDS)
        try:
            reader = reader or log.reader(partitions, {}, group=_GROUP)
            for partition, end in reader.end_offsets().items():
                floor = progress.floor(partition, -1)
                if floor >= 0:  # else nothing has begun to be read
                    LOG_LAG.labels(*map(str, log.place(partition))).set(max(0, end - floor))
        except HeadraceError:
            if reader is not None:  # whoever reads says what is wrong; the last measure stays
                reader.close()
            reader = None
