"""The Splunk destination: batches handed over, what is malformed taken out, the rest waited for until acknowledged."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pyarrow as pa

from connectors.sinks.connection import Refusal, Unfinished
from connectors.sinks.joined import joined
from connectors.sinks.splunk_hec.collector import Collector, Malformed
from connectors.sinks.splunk_hec.envelope import Envelopes
from connectors.sinks.splunk_hec.settings import SplunkHecDestination

_FIRST_LOOK, _LONGEST_PAUSE = 0.05, 2.0  # seconds between questions about acknowledgements


class SplunkHecEndpoint:
    """A collector (implements `Endpoint`)."""

    def __init__(self, settings: SplunkHecDestination) -> None:
        self._settings = settings

    @property
    def max_rows(self) -> int:
        """See `Endpoint`."""
        return self._settings.batch_rows

    @property
    def max_bytes(self) -> int:
        """See `Endpoint`."""
        return self._settings.batch_bytes

    def connect(self) -> SplunkHecConnection:
        """See `Endpoint.connect`; the collector is spoken to at the first `send`. Raises ConfigError."""
        return SplunkHecConnection(self._settings)


class SplunkHecConnection:
    """One channel (implements `Connection`)."""

    def __init__(self, settings: SplunkHecDestination) -> None:
        self._settings = settings
        self._collector = Collector(settings)
        self._envelopes = Envelopes(settings)

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """See `Connection.send`. Raises Transient, ConfigError, and Unfinished where only some were acknowledged in time."""
        events = self._envelopes.of(stream, rows)
        refusals: list[Refusal] = []
        taken: dict[int, range] = {}  # number of the acknowledgement -> rows
        forgotten: list[int] = []  # rows taken under a number that stands for others by now
        waiting = [range(rows.num_rows)]
        while waiting:
            part = waiting.pop()
            if not part:
                continue
            try:
                number = self._collector.take(joined(events.slice(part.start, len(part))))
            except Malformed as exc:
                waiting += _without(part, exc, refusals)
                continue
            if number is not None and self._settings.ack:
                forgotten += taken.get(number, ())  # a collector that was started anew counts anew
                taken[number] = part
        left = [*forgotten, *self._unacknowledged(taken)]
        if left:
            self._collector.renew()
            within = (
                f" within {self._settings.ack_timeout}" if len(left) > len(forgotten) else ": it counts anew since then"
            )
            what = f"{len(left)} events were taken, but not acknowledged{within}"
            raise Unfinished(what, left=sorted(left), refusals=refusals)
        return refusals

    def close(self) -> None:
        """See `Connection.close`."""
        self._collector.close()
        self._envelopes.close()

    def _unacknowledged(self, taken: dict[int, range]) -> list[int]:
        """Waits for the acknowledgement of what is `taken`; the rows that have none in time."""
        deadline, pause = time.monotonic() + self._settings.ack_timeout.total_seconds(), _FIRST_LOOK
        while taken:
            for number in self._collector.acknowledged(list(taken)):
                del taken[number]
            if time.monotonic() > deadline:
                break
            if taken:
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        return [place for part in taken.values() for place in part]


def _without(part: range, malformed: Malformed, refusals: list[Refusal]) -> list[range]:
    """What of `part` is to be handed over still, the last first, when one of it is refused.

    Nothing says whether a collector keeps what came before the event that it names, so that is sent once more; where it
    names none, halves find it.
    """
    if malformed.number is not None and 0 <= malformed.number < len(part):
        bad = part.start + malformed.number
        refusals.append(Refusal(bad, malformed.what))
        return [range(bad + 1, part.stop), range(part.start, bad)]
    if len(part) == 1:
        refusals.append(Refusal(part.start, malformed.what))
        return []
    middle = part.start + len(part) // 2
    return [range(middle, part.stop), range(part.start, middle)]
