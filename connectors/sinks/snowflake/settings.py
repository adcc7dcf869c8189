"""What a configuration can say of a Snowflake account that tables are kept in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from connectors.sinks.complaints import complained, refuse
from connectors.sinks.snowflake.identifiers import check_table, resolved, table_name
from connectors.values import Between, Bytes, Secret

_WITHOUT_A_PERSON = "snowflake, snowflake_jwt, oauth, programmatic_access_token, https://<name>.okta.com"


class SnowflakeDestination(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="snowflake"
):
    """A table a stream in Snowflake, each event in it exactly once. It needs `pip install 'headrace[snowflake]'`.

        destinations:
          lake: {type: delta, uri: "./data/lake/{stream}"}
          dw: {type: snowflake, account: acme-prod, user: HEADRACE, private_key_file: headrace.p8, warehouse: LOADING,
               database: EVENTS, schema: PUBLIC}
        routes:
          - {to: [dw, lake]}

    `table` is the table's name in `database` and `schema`; `{stream}` in it is the stream's. As in Snowflake a plain name
    is folded to capitals, and one in double quotes stays as it is: `'"My {stream}"'`. Tables are made where they are
    missing: `EVENT_ID`, `TIMESTAMP`, `RECEIVED_AT`, `SOURCE`, `EVENT` and `METADATA` (`VARIANT`), `_SAMPLE_RATE`, `_LATE`,
    `_RESCUED`, `DATE`. One of your own needs these and may have more. As `EVENT` takes any value, a stream's `schema` has
    no say here.

    Rows are staged as Parquet and loaded by `COPY INTO` together every `commit_interval`, or sooner once `commit_rows` or
    `commit_bytes` of them wait, in one transaction with the offsets of the log that they came from, which are kept in the
    table `offsets_table`. Whoever drops a table deletes its rows there too. An event that Snowflake refuses, found by
    halving what was loaded, is a dead letter.

    `account` is the identifier of the account. `user` signs in with a `password`, with a key pair (`private_key_file`, a
    PKCS#8 file, and `private_key_passphrase` where it has one), or with a `token` of the kind that `authenticator` names.
    `role` and `warehouse` default to the user's own; the role needs USAGE of the three, CREATE TABLE and CREATE STAGE.
    A statement has `timeout` to be answered. `host`, `port` and `protocol` lead to another address than the account's.
    """

    account: Annotated[str, msgspec.Meta(min_length=1)]
    database: Annotated[str, msgspec.Meta(min_length=1)]
    schema: Annotated[str, msgspec.Meta(min_length=1)] = "PUBLIC"
    table: Annotated[str, msgspec.Meta(min_length=1)] = "{stream}"
    offsets_table: Annotated[str, msgspec.Meta(min_length=1)] = "HEADRACE_OFFSETS"
    user: str | None = None
    password: Secret | None = None
    private_key_file: Path | None = None
    private_key_passphrase: Secret | None = None
    authenticator: str | None = None
    token: Secret | None = None
    role: str | None = None
    warehouse: str | None = None
    host: str | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None = None
    protocol: Literal["https", "http"] = "https"
    timeout: Annotated[timedelta, Between(timedelta(seconds=1), timedelta(hours=1))] = timedelta(minutes=2)
    commit_interval: Annotated[timedelta, Between(timedelta(milliseconds=50), timedelta(days=1))] = timedelta(
        seconds=10
    )
    commit_rows: Annotated[int, msgspec.Meta(ge=1, le=50_000_000)] = 1_000_000
    commit_bytes: Bytes = 268_435_456

    def __post_init__(self) -> None:
        refuse(self._wrong())

    @property
    def place(self) -> tuple[str, str]:
        """The names of the database and the schema."""
        return resolved(self.database), resolved(self.schema)

    def table_of(self, stream: str) -> str:
        """The name of the table of the stream (or rollup) of this name."""
        return table_name(self.table, stream)

    def _wrong(self) -> Iterator[str]:
        for key in ("database", "schema", "offsets_table"):
            yield from complained(key, resolved, getattr(self, key))
        yield from complained("table", check_table, self.table)
        if self.private_key_passphrase is not None and self.private_key_file is None:
            yield "private_key_passphrase: there is no private_key_file to go with it; remove it"
        chosen = (self.authenticator or "").lower()
        if chosen in ("externalbrowser", "username_password_mfa", "oauth_authorization_code"):
            yield f"authenticator: {chosen} asks a person; write one of {_WITHOUT_A_PERSON}"
        ways = [key for key in ("password", "private_key_file", "token") if getattr(self, key) is not None]
        if not ways:
            yield "password: missing; sign in with a password, a private_key_file or a token"
            return
        if len(ways) > 1:
            yield f"{ways[1]}: there is a {ways[0]} too; keep one of them"
        if self.user is None and ways != ["token"]:
            yield f"user: missing; the {ways[0]} is somebody's: name them"
        if ways == ["token"] and not chosen:
            yield "authenticator: missing; a token is of a kind: write oauth or programmatic_access_token"
