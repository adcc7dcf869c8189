"""What a configuration can say of a destination: one struct a type, told apart by `type`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import msgspec

from connectors.sinks.elasticsearch.settings import ElasticsearchDestination
from connectors.sinks.http.settings import HttpDestination
from connectors.sinks.kafka.settings import KafkaDestination
from connectors.sinks.place import Place
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.sinks.splunk_hec.settings import SplunkHecDestination
from connectors.sinks.stdout.settings import StdoutDestination
from connectors.sinks.syslog.settings import SyslogDestination
from connectors.values import Between, Bytes

DEAD_LETTERS = "dead_letters"
"""What the dead letters are called beside the destinations, and the directory of their table."""

CommitInterval = Annotated[timedelta, Between(timedelta(milliseconds=50), timedelta(days=1))]


class Maintenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How Delta tables are kept in order while headrace runs, unless it is not `enabled`.

    `every` so often each table is looked at: a partition with at least `files` small files that no row has come to for
    `cold_after` is compacted into files of about `file_bytes`. Once a day, files that no version since `keep` ago has
    are deleted; log entries go `keep_log` after a checkpoint stands for them (set when a table is made). `keep` is
    longer than any reader holds on to a version.
    """

    enabled: bool = True
    every: Annotated[timedelta, Between(timedelta(seconds=1), timedelta(days=1))] = timedelta(minutes=5)
    cold_after: Annotated[timedelta, Between(timedelta(0), timedelta(days=30))] = timedelta(minutes=10)
    files: Annotated[int, msgspec.Meta(ge=2, le=100_000)] = 8
    file_bytes: Annotated[Bytes, msgspec.Meta(ge=1_048_576)] = 134_217_728
    keep: Annotated[timedelta, Between(timedelta(hours=1), timedelta(days=3650))] = timedelta(days=7)
    keep_log: Annotated[timedelta, Between(timedelta(hours=1), timedelta(days=3650))] = timedelta(hours=6)


class DeltaDestination(Place, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="delta"):
    """A Delta table a stream, on a local disk or in S3, each event in it exactly once.

        destinations:
          lake: {type: delta, uri: "s3://events/{stream}", partition_by: [date]}

    `uri` is a path or `s3://bucket/prefix`; `{stream}` in it is the stream's name. Rows are committed together every
    `commit_interval` (default 1s for a path, 10s for S3), or sooner once `commit_rows` or `commit_bytes` of them wait.
    The rows are partitioned by `partition_by`: `date` (of `timestamp`, UTC), `source`, both, or none. `maintenance` says
    how small files become large ones.

    `endpoint` is another store that speaks S3, in `region`. Where `access_key_id`, `secret_access_key` and
    `session_token` are left out they come from the environment or the machine's role, as AWS's own tools do it.
    `allow_http` (default: whether `endpoint` is `http://`) lets events travel unencrypted; `virtual_hosted_style` asks
    `https://bucket.host/…` in place of `https://host/bucket/…`.
    """

    maintenance: Maintenance = Maintenance()
    partition_by: tuple[Literal["date", "source"], ...] = ("date",)
    commit_interval: CommitInterval | None = None
    commit_rows: Annotated[int, msgspec.Meta(ge=1, le=50_000_000)] = 1_000_000
    commit_bytes: Bytes = 268_435_456

    @property
    def interval(self) -> timedelta:
        """`commit_interval`, or its default for where the tables lie."""
        if self.commit_interval is not None:
            return self.commit_interval
        return timedelta(seconds=1 if self.is_local else 10)


class ParquetDestination(Place, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="parquet"):
    """Plain Parquet files (zstd) a stream, in directories `date=…`, each event in them exactly once.

        destinations:
          files: {type: parquet, uri: "s3://raw/{stream}", roll_age: 5m}
        routes:
          - {to: [files]}

    The rows of one date and one partition of the log become a file once there are `roll_rows` of them, or `roll_bytes`
    (in memory: a file is several times smaller), or once the oldest has waited `roll_age`; and early, but at most once a
    `roll_age`, when nothing has come for `roll_idle`. All that waits together takes at most `buffer_bytes`. `uri` is a
    path or `s3://bucket/prefix`, with `endpoint`, `region`, `access_key_id`, `secret_access_key`, `session_token`,
    `allow_http` and `virtual_hosted_style` as for a Delta table.
    """

    roll_rows: Annotated[int, msgspec.Meta(ge=1, le=50_000_000)] = 1_000_000
    roll_bytes: Bytes = 268_435_456
    roll_age: CommitInterval = timedelta(minutes=5)
    roll_idle: CommitInterval = timedelta(seconds=10)
    buffer_bytes: Bytes = 536_870_912


Pushed = (
    ElasticsearchDestination
    | HttpDestination
    | KafkaDestination
    | SplunkHecDestination
    | StdoutDestination
    | SyslogDestination
)
"""Destinations that events are sent to; the others are tables."""

Destination = DeltaDestination | ParquetDestination | SnowflakeDestination | Pushed
