"""The measuring measures what it says: every step is there, and a ratio is one of costs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard

from bench import __main__ as bench
from bench import dataflow, peers
from bench.load import Request, load
from bench.measure import Case, measure
from bench.payments import lines
from bench.rows import Row, Scale, compared, difference, table, told
from connectors.log.settings import EmbeddedLogSettings
from flows.config.settings import STEPS
from flows.steps.mask.settings import MaskKind
from flows.steps.parse.settings import Kind
from tests.services.process import ServiceMissingError
from tests.services.web import WebServer


def work(amount: int) -> object:
    return sum(number * number for number in range(amount))


def test_a_step_costs_what_it_takes_more_than_nothing_done() -> None:
    case = Case("g", "n", 1000, lambda: work(600_000), lambda: work(200_000), lambda: work(200_000), target=0.5)
    found = measure(case, 5)
    assert found.ratio is not None
    assert found.alone is not None
    assert found.ratio == pytest.approx(0.5, rel=0.4)  # twice as much work
    assert found.alone > found.whole


def test_what_drowns_in_the_noise_has_no_figure() -> None:
    found = measure(Case("g", "n", 1000, lambda: work(200_000), lambda: work(400_000)), 3)
    assert (found.alone, found.ratio, found.reference) == (None, None, None)


def run(monkeypatch: pytest.MonkeyPatch, file: Path, *arguments: str) -> list[Any]:
    """The rows of one run of `python -m bench`."""
    monkeypatch.setattr("sys.argv", ["bench", *arguments, "--rounds", "1", "--seconds", "0.3", "--json", str(file)])
    bench.main()
    found: list[Any] = json.loads(file.read_bytes())
    return found


def test_every_step_and_kind_is_measured_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = [f"--only={name}" for name in ("pipeline", "steps", "memory")]
    results = run(monkeypatch, tmp_path / "bench.json", "--rows", "40", *groups)
    shown = capsys.readouterr().out
    names = {(one["group"], one["what"].split(",")[0]) for one in results}
    assert {name for group, name in names if group == "parse"} == set(get_args(Kind))
    assert {name for group, name in names if group == "mask"} == set(get_args(MaskKind))
    told = {name.split()[0] for _, name in names} | {group for group, _ in names}
    assert set(STEPS) <= told
    assert {"routes", "rollups"} <= told
    assert all(one["ours"] is None or one["ours"] > 0 for one in results)
    assert not [one["note"] for one in results if one["note"].startswith(("failed", "not measured"))]
    assert len([line for line in shown.splitlines() if line.startswith("| ")]) == len(results) + 1


@pytest.mark.parametrize(
    ("group", "case", "rows"),
    [
        ("gateway", "stubbed", 1),
        ("gateway", "NDJSON", 2),
        ("latency", "Delta", 1),
        ("lasting", "cold", 1),
        ("worst", "a window", 1),
        ("cost", "", 5),
    ],
)
def test_each_group_measures(group: str, case: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run(monkeypatch, tmp_path / "bench.json", "--only", group, "--case", case, "--events", "1000")
    # So little work may be within the noise, and then there is no figure.
    told = [one["group"] for one in results if "within the noise" in one["note"] or (one["ours"] or 0) > 0]
    assert told == [group] * rows, results


def test_what_cannot_be_had_is_a_row_that_says_why_and_costs_the_others_nothing() -> None:
    def missing() -> Iterator[Row]:
        yield Row(group="g", what="before", ours=1.0)
        raise ServiceMissingError("there is no such program")

    def broken() -> Iterator[Row]:
        raise RuntimeError("it fell over")

    found = [
        *told(Scale(), "g", "a", missing),
        *told(Scale(), "g", "b", broken),
        *told(Scale(case="z"), "g", "c", broken),
    ]
    assert [row.note for row in found] == [
        "",
        "not measured: there is no such program",
        "failed: RuntimeError: it fell over",
    ]
    assert "not measured" in table(found)


def test_a_group_that_takes_too_long_is_ended_and_said_so() -> None:
    rows = list(bench.of_child("memory", Scale(rows=20_000, rounds=50), 1.0))
    assert rows[-1].note == "not measured: it took more than 1 s"


def test_a_difference_within_the_noise_is_no_figure() -> None:
    assert difference(10.0, 9.0) == 1.0
    with pytest.raises(ServiceMissingError, match="within the noise"):
        difference(10.0, 9.9)


def test_a_ratio_is_beside_its_target() -> None:
    assert compared("g", "w", [(3.0, 1.0), (4.0, 2.0), (1.0, 1.0)], at_least=2).met is True
    assert compared("g", "w", [(3.0, 1.0), (4.0, 2.0), (1.0, 1.0)], at_most=1.5).met is False
    assert compared("g", "w", [(3.0, 1.0)]).met is None


def test_without_wrk_the_load_is_our_own(monkeypatch: pytest.MonkeyPatch, web: WebServer) -> None:
    def missing(*_: object) -> None:
        raise ServiceMissingError("no wrk")

    monkeypatch.setattr("bench.load._wrk", missing)
    served = load(web.url, Request("/in", {"Content-Type": "application/json"}, b"{}"), 0.3, 2)
    assert served.requests == len(web.requests) > 0
    assert served.bad == 0
    web.answer = lambda _: 500
    served = load(web.url, Request("/in", {}, b"{}"), 0.3, 2)
    assert served.bad == served.requests > 0


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.stop()


def test_the_dataflow_and_the_statement_it_is_compared_with_leave_the_same_rows(tmp_path: Path) -> None:
    log = EmbeddedLogSettings(path=tmp_path / "log")
    peers.fill(log, 300, 50)
    peers.drain(peers.config(tmp_path, log))
    dataflow.stated(tmp_path, 300)
    columns = "event.transaction_id, event.card, event.email, event.amount, timestamp"
    ours = duckdb.sql(f"SELECT {columns} FROM read_parquet('{tmp_path}/lake/payments/**/*.parquet') ORDER BY 1")
    theirs = duckdb.sql(f"SELECT {columns} FROM '{tmp_path}/out.parquet' ORDER BY 1").fetchall()
    assert ours.fetchall() == theirs
    assert 0 < len(theirs) < 300


MASKED = "************5489"
CLEAR = next(lines(1)).split(b'"card":"')[1][:16].decode()


def parquet(rows: int, out: Path, card: str = MASKED) -> None:
    pq.write_table(pa.Table.from_pylist([{"event": {"card": card}}] * rows), out / "lake.parquet")


def ndjson(rows: int, out: Path, card: str = MASKED) -> None:
    (out / "lake.ndjson").write_bytes(b'{"card":"%b"}\n' % card.encode() * rows)


def compressed(rows: int, out: Path, card: str = MASKED) -> None:
    (out / "lake.ndjson.zst").write_bytes(zstandard.compress(b'{"card":"%b"}\n' % card.encode() * rows))


def otlp(rows: int, out: Path, card: str = MASKED) -> None:
    body = b'{"body":{"card":"%b"}}' % card.encode()
    frames = [zstandard.compress(body * part) for part in (rows - 1, 1)]
    (out / "lake.otlp").write_bytes(b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))


@pytest.mark.parametrize("file", sorted({file for file, _ in peers.ON_PATH.values()} | set(peers.MANY.values())))
def test_a_contestant_is_told_where_to_read_and_where_to_write(file: str, tmp_path: Path) -> None:
    topic = ("127.0.0.1:9", "of-payments", 1)
    configuration = peers._filled_in(peers.HERE / file, topic, tmp_path, "json").read_text()
    assert yaml.safe_load(configuration)
    for told_of in (*topic[:2], str(tmp_path)):
        assert told_of in configuration
    assert not re.search("BOOTSTRAP|TOPIC|GROUP|OUT|ENCODING", configuration)


@pytest.mark.parametrize("wrote", [parquet, ndjson, compressed, otlp])
def test_a_contestant_that_leaves_an_event_out_has_no_figure(wrote: Any, tmp_path: Path) -> None:
    def runs(topic: peers.Topic, out: Path, lost: int) -> float:
        wrote(peers.kept(topic[2]) - lost, out)
        return topic[2] / 1_000

    topics = [("", "few", 100), ("", "all", 1_100)]
    assert peers._speed("it", lambda topic, out: runs(topic, out, 0), topics, tmp_path) == pytest.approx(1_000)
    with pytest.raises(RuntimeError, match="came out"):
        peers._speed("it", lambda topic, out: runs(topic, out, 1), topics, tmp_path)


@pytest.mark.parametrize("wrote", [parquet, ndjson, compressed, otlp])
@pytest.mark.parametrize("clear", [CLEAR, "user7@example.com"])
def test_a_contestant_that_masks_nothing_has_no_figure(wrote: Any, clear: str, tmp_path: Path) -> None:
    def runs(topic: peers.Topic, out: Path) -> float:
        wrote(peers.kept(topic[2]), out, clear)
        return topic[2] / 1_000

    with pytest.raises(RuntimeError, match="came out as they went in"):
        peers._speed("it", runs, [("", "few", 100), ("", "all", 1_100)], tmp_path)
