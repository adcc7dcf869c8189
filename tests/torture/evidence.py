"""What came out in the end: the log, each destination and the dead letters, read by no code of the dataflow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import TableNotFoundError

from connectors.log import Log
from flows.config import Config
from tests.services.opensearch import OpenSearch
from tests.torture.clients import Name
from tests.torture.settings import STREAMS

Place = tuple[int, int, int]
"""Where the log has an event: partition, offset, index within its record."""

Row = dict[str, Any]


@dataclass
class Logged:
    """What the log holds, repeats of requests with a key left out."""

    places: dict[str, Place] = field(default_factory=dict)  # by event id
    ids: dict[Name, list[str]] = field(default_factory=dict)  # by event


def read_log(log: Log) -> Logged:
    """Every event of the log, once a request."""
    found = Logged()
    names = {identity: name for name, identity in STREAMS.items()}
    reader = log.reader(range(log.partitions), {}, group="torture-evidence")
    with closing(reader):
        ends = reader.end_offsets()
        for partition in range(log.partitions):
            position = 0
            while position < ends.get(partition, 0):
                block = reader.read(partition, max_bytes=1 << 22)
                if block is None:
                    continue
                position = block.next_offset
                for offset, record in zip(block.offsets, block.records, strict=True):
                    for index, line in enumerate(record.value.split(b"\n"), record.first_index):
                        event_id = f"{record.request_id}-{index}"
                        if event_id in found.places:
                            continue  # a repeat
                        found.places[event_id] = (partition, offset, index)
                        event = json.loads(line)["event"]
                        name = (names[record.stream], event["client"], event["n"])
                        found.ids.setdefault(name, []).append(event_id)
    return found


def table(config: Config, stream: str, columns: str) -> list[Row]:
    """Rows of a stream's Delta table as a reader has them."""
    settings = config.destinations["lake"]
    try:
        delta = DeltaTable(settings.table_uri(stream), storage_options=settings.storage_options())
    except TableNotFoundError:
        return []
    found = pa.table(QueryBuilder().register("t", delta).execute(f"SELECT {columns} FROM t").read_all())
    return list(found.to_pylist())


def written(config: Config, stream: str, places: Mapping[str, Place]) -> Iterator[str]:
    """The event ids of a stream's table in the order in which they were committed; what compaction wrote anew left out."""
    settings = config.destinations["lake"]
    try:
        delta = DeltaTable(settings.table_uri(stream), storage_options=settings.storage_options())
    except TableNotFoundError:
        return
    files = _Files(settings, stream)
    for version in range(delta.version() + 1):
        actions = [json.loads(line) for line in files.read(f"_delta_log/{version:020d}.json").splitlines()]
        ids: list[str] = []
        for action in actions:
            added = action.get("add")
            if added is not None and added["dataChange"]:
                content = pq.read_table(pa.BufferReader(files.read(added["path"])), columns=["event_id"])
                ids += content.column("event_id").to_pylist()
        yield from sorted(ids, key=lambda event_id: places.get(event_id, (0, 0, 0)))  # one commit has no order within


class _Files:
    """A table's files, wherever it is."""

    def __init__(self, settings: Any, stream: str) -> None:
        self._uri = settings.table_uri(stream)
        self._client: Any = None
        if not settings.is_local:
            import boto3

            options = settings.storage_options()
            named = {key.lower(): value for key, value in options.items()}
            self._client = boto3.client(
                "s3",
                endpoint_url=settings.endpoint,
                aws_access_key_id=named.get("aws_access_key_id") or named.get("access_key_id"),
                aws_secret_access_key=named.get("aws_secret_access_key") or named.get("secret_access_key"),
                region_name="us-east-1",
            )

    def read(self, name: str) -> bytes:
        if self._client is None:
            with open(f"{self._uri}/{name}", "rb") as file:
                return file.read()
        address = urlsplit(self._uri)
        key = f"{address.path.strip('/')}/{name}"
        body: bytes = self._client.get_object(Bucket=address.netloc, Key=key)["Body"].read()
        return body


def documents(node: OpenSearch, stream: str) -> list[Row]:
    """All documents of a stream's index, each with its `_id`, how often it was written, and when it was last."""
    index = f"torture-{stream}"
    node.call("POST", f"{index}/_refresh")
    asked = {"size": 5000, "sort": ["_doc"], "version": True, "seq_no_primary_term": True}
    page = node.call("GET", f"{index}/_search?scroll=2m", asked)
    found: list[Row] = []
    while hits := page.get("hits", {}).get("hits"):
        found += [hit["_source"] | {name: hit[name] for name in ("_id", "_version", "_seq_no")} for hit in hits]
        page = node.call("POST", "_search/scroll", {"scroll": "2m", "scroll_id": page["_scroll_id"]})
    return found


def written_once(documents: list[Row]) -> list[str]:
    """The ids of the documents that were written once, in the order of their writes: one shard numbers what it does.

    One that was sent again has lost its place.
    """
    once = [document for document in documents if document["_version"] == 1]
    return [document["_id"] for document in sorted(once, key=lambda document: document["_seq_no"])]


def letters(config: Config) -> list[Row]:
    """The dead letters."""
    try:
        delta = DeltaTable(str(config.data / "dead_letters"))
    except TableNotFoundError:
        return []
    return list(pa.table(QueryBuilder().register("t", delta).execute("SELECT * FROM t").read_all()).to_pylist())
