"""What a configuration can say of a destination: one struct a type, told apart by `type`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from connectors.sinks.elasticsearch.settings import ElasticsearchDestination
from connectors.sinks.http.settings import HttpDestination
from connectors.sinks.kafka.settings import KafkaDestination
from connectors.sinks.stdout import StdoutDestination
from connectors.values import Between, Bytes, Secret

CommitInterval = Annotated[timedelta, Between(timedelta(milliseconds=50), timedelta(days=1))]


class DeltaDestination(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="delta"
):
    """A Delta table a stream, on a local disk or in S3, each event in it exactly once.

        destinations:
          lake: {type: delta, uri: "s3://events/{stream}", partition_by: [date]}

    `uri` is a path or `s3://bucket/prefix`; `{stream}` in it is the stream's name. Rows are committed together every
    `commit_interval` (default 1s for a path, 10s for S3), or sooner once `commit_rows` or `commit_bytes` of them wait.
    The rows are partitioned by `partition_by`: `date` (of `timestamp`, UTC), `source`, both, or none.

    `endpoint` is another store that speaks S3, in `region`. Where `access_key_id`, `secret_access_key` and
    `session_token` are left out they come from the environment or the machine's role, as AWS's own tools do it.
    `allow_http` (default: whether `endpoint` is `http://`) lets events travel unencrypted; `virtual_hosted_style` asks
    `https://bucket.host/…` in place of `https://host/bucket/…`.
    """

    uri: Annotated[str, msgspec.Meta(min_length=1)]
    partition_by: tuple[Literal["date", "source"], ...] = ("date",)
    commit_interval: CommitInterval | None = None
    commit_rows: Annotated[int, msgspec.Meta(ge=1, le=50_000_000)] = 1_000_000
    commit_bytes: Bytes = 268_435_456
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    allow_http: bool | None = None
    virtual_hosted_style: bool = False

    @property
    def is_local(self) -> bool:
        """Whether the tables lie on a local disk."""
        return not self.uri.startswith(("s3://", "s3a://"))

    @property
    def interval(self) -> timedelta:
        """`commit_interval`, or its default for where the tables lie."""
        if self.commit_interval is not None:
            return self.commit_interval
        return timedelta(seconds=1 if self.is_local else 10)

    def table_uri(self, stream: str) -> str:
        """Where the table of the stream of this name lies: an absolute path, or an `s3://` address."""
        uri = self.uri.replace("{stream}", stream)
        return unquote(urlsplit(uri).path) if uri.startswith("file://") else uri

    def storage_options(self) -> dict[str, str]:
        """The options of `deltalake.DeltaTable(…, storage_options=…)`; empty for a local table. They hold secrets."""
        if self.is_local:
            return {}
        options: dict[str, str | None] = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": self.session_token,
            "AWS_ALLOW_HTTP": None if self.allows_http is None else str(self.allows_http).lower(),
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(self.virtual_hosted_style).lower(),
        }
        return {name: value for name, value in options.items() if value is not None}

    @property
    def allows_http(self) -> bool | None:
        """Whether S3 may be spoken to without TLS; None leaves it to the environment."""
        if self.allow_http is not None or self.endpoint is None:
            return self.allow_http
        return self.endpoint.startswith("http://")


Pushed = ElasticsearchDestination | HttpDestination | KafkaDestination | StdoutDestination
"""Destinations that events are sent to; the others are tables, at a `uri`."""

Destination = DeltaDestination | Pushed
