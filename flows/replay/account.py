"""What a replay did, in numbers: this process's counters tell."""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.sinks import dead_letters
from connectors.sinks.base import Outcome, Rows
from connectors.telemetry import EVENTS_DROPPED, EVENTS_READ, EVENTS_REPEATED, ROWS_COMMITTED, ROWS_REFUSED


class Account(msgspec.Struct):
    """What a replay did. All counts are of this run; rows are the stream's events, and a rollup's are counted apart.

    `left` are records of the log that were left to the dataflow, which brings them; `missing` are records that the log
    does not hold any more, at most; `older` are rows of a rebuilt table that came from such.
    """

    stream: str
    into: str
    id: str
    finished: bool = False
    read: int = 0
    repeated: int = 0
    dropped: int = 0
    written: int = 0
    already_there: int = 0
    refused: int = 0
    rollup_rows: int = 0
    dead_letters: int = 0
    left: int = 0
    missing: int = 0
    older: int = 0
    start: dict[int, int] = {}
    end: dict[int, int] = {}
    seconds: float = 0.0


class Count:
    """The account of a run: what this process's counters gained."""

    def __init__(self, stream: str, into: str) -> None:
        self._stream = stream
        self._into = into
        self._given = 0
        self._before = self._counters()

    def see(self, outcome: Outcome) -> None:
        """Counts the events that are handed to the destination."""
        given: list[Rows] = list(outcome.rows.get(self._into, ()))
        self._given += sum(part.table.num_rows for part in given if part.stream == self._stream)

    def settle(self, account: Account) -> None:
        """Writes it down."""
        gained = {name: value - self._before.get(name, 0) for name, value in self._counters().items()}
        account.read, account.repeated = gained["read"], gained["repeated"]
        account.dropped, account.written = gained["dropped"], gained["written"]
        account.refused, account.dead_letters = gained["refused"], gained["letters"]
        account.rollup_rows = gained["rollups"]
        account.already_there = max(0, self._given - account.written - account.refused)

    def _counters(self) -> dict[str, int]:
        of_stream = {"stream": self._stream}
        there = {"destination": self._into}
        return {
            "read": _sum(EVENTS_READ, of_stream),
            "repeated": _sum(EVENTS_REPEATED, of_stream),
            "dropped": _sum(EVENTS_DROPPED, of_stream | {"intentional": "true"}),
            "written": _sum(ROWS_COMMITTED, there | of_stream),
            "rollups": _sum(ROWS_COMMITTED, there) - _sum(ROWS_COMMITTED, there | of_stream),
            "refused": _sum(ROWS_REFUSED, there | of_stream),
            "letters": _sum(ROWS_COMMITTED, {"destination": dead_letters.NAME}),
        }


def _sum(counter: Any, labels: dict[str, str]) -> int:
    samples = [sample for metric in counter.collect() for sample in metric.samples]
    return sum(int(s.value) for s in samples if s.name.endswith("_total") and labels.items() <= s.labels.items())
