"""Events with objects in objects go where others go, also where only a part of a batch is wanted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.sinks.base import Rows
from connectors.sinks.batching import Batching
from connectors.sinks.delta import DeltaWriter
from connectors.sinks.http.endpoint import HttpEndpoint
from connectors.sinks.http.settings import HttpDestination
from connectors.sinks.parquet import ParquetWriter
from connectors.sinks.settings import DeltaDestination, ParquetDestination
from connectors.views import whole
from tests.services.web import WebServer
from tests.sinks.sending import Sending, event, ids, rows_of
from tests.sinks.tables import STREAM, read_table

RECORDS = [[event(n, where={"is": {"deep": f"d{n}"}, "none": None})] for n in range(5)]


def writer(kind: str, directory: Path) -> Any:
    if kind == "delta":
        return DeltaWriter(DeltaDestination(uri=f"{directory}/{{stream}}"), "log-1")
    return ParquetWriter(ParquetDestination(uri=f"{directory}/{{stream}}"), "log-1")


def landed(kind: str, directory: Path) -> list[str]:
    if kind == "delta":
        return sorted(row["event_id"] for row in read_table(directory / STREAM))
    files = (directory / STREAM).glob("date=*/*.parquet")
    return sorted(one for file in files for one in pq.ParquetFile(file).read().column("event_id").to_pylist())


@pytest.mark.parametrize("kind", ["delta", "parquet"])
def test_a_restart_takes_what_it_has_not_of_a_batch_that_it_has_in_part(kind: str, tmp_path: Path) -> None:
    first = writer(kind, tmp_path)
    first.stage(0, [Rows(STREAM, rows_of(*RECORDS[:2]))], 2)
    first.commit(everything=True)
    again = writer(kind, tmp_path)
    rows = rows_of(*RECORDS)
    again.stage(0, [Rows(STREAM, rows)], 5)
    again.commit(everything=True)
    assert landed(kind, tmp_path) == sorted(ids(rows))


def test_more_rows_than_one_request_takes_are_sent_in_several(tmp_path: Path) -> None:
    server = WebServer()
    try:
        sending = Sending(HttpEndpoint(HttpDestination(url=server.url)), tmp_path, Batching(rows=2))
        sending.deliver(rows_of(*RECORDS))
        bodies = [json.loads(request.body) for request in server.requests]
        assert [len(body) for body in bodies] == [2, 2, 1]
        sent = [one["event"] for body in bodies for one in body]
        assert [one["n"] for one in sent] == [0, 1, 2, 3, 4]
        assert [one["where"] for one in sent] == [{"is": {"deep": f"d{n}"}} for n in range(5)]
    finally:
        server.stop()


def test_only_a_view_of_a_struct_is_copied_and_the_rows_are_the_same() -> None:
    table = pa.table({"n": [1, 2, 3], "event": [{"a": {"b": n}} for n in range(3)]})
    part = table.slice(1)
    made = whole(part)
    assert made.equals(part)
    assert [chunk.offset for chunk in made.column("event").chunks] == [0]
    assert whole(table) is table
    twice = pa.concat_tables([table, part, table.slice(0, 0)])
    assert whole(twice).equals(twice)
