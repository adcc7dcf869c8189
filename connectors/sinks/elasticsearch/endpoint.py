"""Rows into Elasticsearch by its bulk API: one action an event under its own `_id`, each with an answer of its own."""

from __future__ import annotations

import itertools
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from connectors.errors import ConfigError, Transient
from connectors.sinks.connection import Refusal, Unfinished
from connectors.sinks.documents import EVENT_ID, Documents
from connectors.sinks.elasticsearch.settings import ElasticsearchDestination
from connectors.sinks.names import NameTemplate
from connectors.sinks.web import PASSING, Answer, WebClient

_HEADERS = {"Content-Type": "application/x-ndjson", "Accept": "application/json"}
_SHOWN = 500  # characters of a reason


class _Item(msgspec.Struct):
    status: int
    error: Any = None


class _Bulk(msgspec.Struct):
    items: list[dict[str, _Item]] = []


_ANSWER = msgspec.json.Decoder(_Bulk)


class ElasticsearchEndpoint:
    """A cluster (implements `Endpoint`). Connections go to its nodes in turn."""

    def __init__(self, settings: ElasticsearchDestination) -> None:
        self._settings = settings
        self._nodes = itertools.cycle(settings.urls)
        self.max_rows = settings.batch_rows
        self.max_bytes = settings.batch_bytes

    def connect(self) -> ElasticsearchConnection:
        """See `Endpoint.connect`; the node is spoken to at the first `send`."""
        return ElasticsearchConnection(self._settings, next(self._nodes))


class ElasticsearchConnection:
    """One connection to one node (implements `Connection`)."""

    def __init__(self, settings: ElasticsearchDestination, url: str) -> None:
        self._op = settings.op
        self._compress = settings.compress
        self._index = NameTemplate(settings.index, "lower")
        self._documents = Documents(time_as="@timestamp")
        self._client = WebClient(url, settings, _HEADERS | _credentials(settings))
        more = f"&pipeline={quote(settings.pipeline, safe='')}" if settings.pipeline else ""
        self._url = f"{str.__str__(url).rstrip('/')}/_bulk?filter_path=items.*.status,items.*.error{more}"

    def send(self, stream: str, rows: pa.Table) -> Sequence[Refusal]:
        """See `Connection.send`. Raises Unfinished where some rows are to be sent again."""
        made = self._documents.of(stream, rows)
        actions = pc.binary_join_element_wise(
            f'{{"{self._op}":{{"_index":"',
            self._index.of(stream, rows),
            '","_id":"',
            made.column(EVENT_ID).combine_chunks(),
            '"}}\n',
            made.column("document").combine_chunks(),
            "\n",
            "",
        ).cast(pa.large_string())
        refusals: list[Refusal] = []
        left: list[int] = []
        reasons: list[str] = []
        parts = [(0, rows.num_rows)]
        while parts:
            start, stop = parts.pop()
            answer = self._post(actions.slice(start, stop - start))
            if answer.status in (400, 413):  # one action may spoil a request: it is found by halving
                if stop - start == 1:
                    refusals.append(Refusal(start, answer.told()))
                else:
                    middle = (start + stop) // 2
                    parts += [(middle, stop), (start, middle)]
                continue
            for row, item in enumerate(_items(answer, stop - start, self._client.where), start):
                if item.status < 300 or (item.status == 409 and self._op == "create"):
                    continue
                if item.status in PASSING or item.status in (401, 403):
                    left.append(row)
                    reasons.append(f"status {item.status} {_kind(item.error)}")
                else:
                    refusals.append(Refusal(row, _told(item)))
        if left:
            what = f"{self._client.where} puts off {len(left)} of {rows.num_rows} rows: {reasons[0]}"
            raise Unfinished(what, left=left, refusals=refusals)
        return refusals

    def close(self) -> None:
        """See `Connection.close`."""
        self._client.close()
        self._documents.close()

    def _post(self, actions: pa.Array) -> Answer:
        together = pa.LargeListArray.from_arrays([0, len(actions)], actions)
        body = pc.binary_join(together, "")[0].as_buffer()
        return self._client.post(self._url, memoryview(body).tobytes(), {}, compress=self._compress)


def _items(answer: Answer, count: int, where: str) -> list[_Item]:
    """What became of each action."""
    if answer.status != 200:
        raise ConfigError(
            f"{where} answers a bulk request with status {answer.status}", remedy="is the url that of Elasticsearch?"
        )
    try:
        items = [next(iter(item.values())) for item in _ANSWER.decode(answer.body).items]
    except (msgspec.DecodeError, StopIteration):
        items = []
    if len(items) != count:
        raise Transient(f"{where} answers a bulk request of {count} actions with {len(items)} results")
    return items


def _told(item: _Item) -> str:
    """The reason of a refusal, and what was behind it. It may repeat a value of the event."""
    reasons: list[str] = []
    error = item.error
    while isinstance(error, Mapping) and len(reasons) < 3:
        reasons.append(f"{error.get('type', '')}: {error.get('reason', '')}")
        error = error.get("caused_by")
    return f"status {item.status} " + "; ".join(reasons)[:_SHOWN]


def _kind(error: Any) -> str:
    """The kind of an error, which repeats nothing of the event."""
    return str(error.get("type", "")) if isinstance(error, Mapping) else ""


def _credentials(settings: ElasticsearchDestination) -> dict[str, str]:
    if settings.api_key is not None:
        return {"Authorization": f"ApiKey {str.__str__(settings.api_key)}"}
    if settings.username is not None and settings.password is not None:
        pair = f"{str.__str__(settings.username)}:{str.__str__(settings.password)}"
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}
