"""Compares what came out with what was promised. Pure: lists in, findings out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from tests.torture.clients import Name
from tests.torture.evidence import Logged, Place, Row
from tests.torture.settings import WINDOW_SECONDS

ORIGINAL = re.compile(r"4000000\d{8}\d|@original\.example")
"""What `clients` puts into events of the stream `masked`, and nobody may see again."""

_SHOWN = 5  # of each sort, in the report


@dataclass
class Findings:
    """What is wrong, in sentences; empty lists are the proof."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.lost, self.doubled, self.disordered, self.shown, self.wrong))

    def lines(self) -> list[str]:
        found = []
        for sort, all_of_it in vars(self).items():
            found += [f"{sort}: {one}" for one in all_of_it[:_SHOWN]]
            if len(all_of_it) > _SHOWN:
                found.append(f"{sort}: … {len(all_of_it) - _SHOWN} more")
        return found


def log_holds(acknowledged: Iterable[Name], logged: Logged, findings: Findings) -> None:
    """Every acknowledged event is in the log, and none twice under different ids."""
    findings.lost += [
        f"{name} was acknowledged and is not in the log" for name in acknowledged if name not in logged.ids
    ]
    findings.doubled += [f"{name} is in the log as {ids}" for name, ids in logged.ids.items() if len(ids) > 1]


def arrived(
    stream: str,
    destination: str,
    ids: Sequence[str],
    set_aside: Sequence[str],
    logged: Logged,
    findings: Findings,
    *,
    once: bool,
) -> None:
    """What the log has of the stream is in the destination or was set aside for it: once, or (not `once`) at least once."""
    expected = {one: name for name, many in logged.ids.items() if name[0] == stream for one in many}
    counts, letters = Counter(ids), Counter(set_aside)
    for event_id, name in expected.items():
        times = counts[event_id] + letters[event_id]
        at = f"{name} ({event_id}, partition, offset, index {logged.places[event_id]})"
        if not times:
            findings.lost.append(f"{at} is not in {destination}, and no dead letter")
        elif letters[event_id] > 1 or (once and times > 1):
            findings.doubled.append(
                f"{at} is {counts[event_id]} times in {destination}, {letters[event_id]} dead letters"
            )
    for event_id in counts.keys() - expected.keys():
        findings.wrong.append(f"{event_id} is in {destination}, and not in the log's stream {stream}")


def in_order(
    stream: str, destination: str, ids: Iterable[str], places: Mapping[str, Place], findings: Findings
) -> None:
    """Of each partition of the log, events came for the first time in the log's order."""
    seen: set[str] = set()
    last: dict[int, tuple[int, int]] = {}
    for event_id in ids:
        if event_id in seen or event_id not in places:
            continue
        seen.add(event_id)
        partition, offset, index = places[event_id]
        if (before := last.get(partition, (-1, -1))) > (offset, index):
            text = (
                f"{stream} in {destination}, partition {partition}: {before} came before {(offset, index)} ({event_id})"
            )
            findings.disordered.append(text)
        last[partition] = max(before, (offset, index))


def windows(rows: Sequence[Row], findings: Findings) -> int:
    """The aggregates of the events on time are what SQL says of them; how many were late."""
    good = [row for row in rows if not row["_late"]]
    for row in rows:
        if row["_late"] and row["event"].get("w") and any(value is not None for value in row["event"]["w"].values()):
            findings.wrong.append(f"windowed {row['event_id']} is late and has aggregates {row['event']['w']}")
    columns = {
        "id": pa.array([row["event_id"] for row in good], pa.string()),
        "moment": pa.array([row["timestamp"] for row in good], pa.timestamp("us", "UTC")).cast(pa.int64()),
        "client": pa.array([row["event"]["client"] for row in good], pa.string()),
        "amount": pa.array([row["event"]["amount"] for row in good], pa.int64()),
        "number": pa.array([row["event"]["n"] for row in good], pa.int64()),
    }
    with duckdb.connect() as engine:
        engine.register("events", pa.table(columns))
        said = engine.execute(f"""
            SELECT id, count(*) OVER w, sum(amount) OVER w, max(number) OVER w FROM events
            WINDOW w AS (PARTITION BY client ORDER BY moment
                         RANGE BETWEEN {WINDOW_SECONDS * 1_000_000} PRECEDING AND CURRENT ROW)
        """).fetchall()
    has = {row["event_id"]: row["event"]["w"] for row in good}
    for event_id, n, total, number in said:
        want = {"n": n, "total": total, "last": number}
        if has[event_id] is None or {name: has[event_id].get(name) for name in want} != want:
            findings.wrong.append(f"windowed {event_id} has {has[event_id]}, and SQL says {want}")
    return len(rows) - len(good)


def hidden(where: str, texts: Iterable[str], findings: Findings) -> None:
    """No text has an original of what is masked."""
    for text in texts:
        if match := ORIGINAL.search(text):
            findings.shown.append(
                f"{where} shows {match.group()}: …{text[max(0, match.start() - 60) : match.end() + 20]}…"
            )
