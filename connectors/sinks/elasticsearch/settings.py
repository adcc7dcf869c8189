"""What a configuration can say of an Elasticsearch or OpenSearch cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from connectors.sinks.complaints import refuse
from connectors.sinks.sent import Web, wrong_certificates, wrong_name, wrong_pair, wrong_url
from connectors.values import Secret


class ElasticsearchDestination(
    Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="elasticsearch"
):
    """An index, or a data stream, of Elasticsearch or OpenSearch: each event exactly once, by its `event_id` as `_id`.

        destinations:
          search: {type: elasticsearch, url: "https://es:9200", index: "logs-{stream}", api_key: "${ES_KEY}"}

    `index` may hold `{stream}`, `{source}`, `{date}` and fields of the event, `{event.app}`; it begins with a text of its
    own. A document has the columns of a row, and `@timestamp`. With `op: create`, which data streams need, an event that
    is there already stays as it is. A document that does not fit the mapping is a dead letter. `url` may be a list of
    nodes, `pipeline` an ingest pipeline that documents go through; `compress` gzips requests. Credentials are
    `username` and `password`, or an `api_key` as Elasticsearch shows it encoded.
    """

    url: Annotated[str, msgspec.Meta(min_length=1)] | tuple[str, ...]
    index: Annotated[str, msgspec.Meta(min_length=1)] = "{stream}"
    op: Literal["index", "create"] = "index"
    pipeline: str | None = None
    username: str | None = None
    password: Secret | None = None
    api_key: Secret | None = None
    compress: bool = True

    def __post_init__(self) -> None:
        refuse(self._wrong())

    def _wrong(self) -> Iterator[str]:
        if not self.urls:
            yield "url: an empty list; write https://host:9200"
        for url in self.urls:
            yield from wrong_url(url)
        yield from wrong_certificates(self)
        yield from wrong_name("index", self.index, "lower")
        yield from wrong_pair(self.username, self.password)
        if self.api_key is not None and self.username is not None:
            yield "api_key: there is a username too; keep one of them"

    @property
    def urls(self) -> tuple[str, ...]:
        """The nodes."""
        return (self.url,) if isinstance(self.url, str) else self.url
