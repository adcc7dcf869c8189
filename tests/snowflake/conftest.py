"""One fakesnow for the session, a front of its own and a database of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from connectors.sinks.refusals import Refusals
from connectors.sinks.rejects import DeadLetters
from connectors.sinks.settings import DeltaDestination
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.sinks.snowflake.writer import SnowflakeWriter
from connectors.values import Secret
from tests.services.fakesnow import FakeSnow
from tests.services.front import Front
from tests.sinks.tables import STREAM, Dataflow, read_table


@pytest.fixture(scope="session")
def fakesnow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeSnow]:
    """A server that answers as Snowflake does; a fake."""
    server = FakeSnow(tmp_path_factory.mktemp("fakesnow"))
    server.start()
    yield server
    server.kill()


class Account:
    """What one test has of Snowflake: a way there (`front`), a database, and the dead letters of what it refuses."""

    def __init__(self, server: FakeSnow, directory: Path) -> None:
        self.server = server
        self.front = Front(server.port)
        self.database = f"T{uuid4().hex[:12].upper()}"
        self.letters = directory / "dead_letters"

    def destination(self, **more: Any) -> dict[str, Any]:
        """The destination as a person writes it; its password is `${TEST_SNOWFLAKE_PASSWORD}`."""
        return {
            "type": "snowflake",
            "account": "acme",
            "user": "headrace",
            "password": "${TEST_SNOWFLAKE_PASSWORD}",
            "host": "127.0.0.1",
            "port": self.front.port,
            "protocol": "http",
            "database": self.database,
            "timeout": "20s",
            "commit_interval": "200ms",
            **more,
        }

    def settings(self, **more: Any) -> SnowflakeDestination:
        given = {name: value for name, value in self.destination(**more).items() if name != "type"}
        given |= {
            "timeout": timedelta(seconds=20),
            **more,
            "commit_interval": timedelta(seconds=1),
            "password": Secret("any"),
        }
        return SnowflakeDestination(**(given | more))

    def writer(self, *, log: str = "log-1", schema: str = "evolve", **more: Any) -> SnowflakeWriter:
        """`schema` is that of the stream."""
        about = (DeltaDestination(uri=str(self.letters), partition_by=()), log, lambda p: ("events", p), "v1")
        refusals, rejects = Refusals(*about, "dw"), DeadLetters(*about)
        return SnowflakeWriter(self.settings(**more), log, refusals, schemas={STREAM: schema}, rejects=rejects)

    def dataflow(self, **more: Any) -> Dataflow:
        """A process that writes here, knowing nothing yet."""
        return Dataflow("", writer=self.writer(**more))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.server.query(self.database, sql)

    def ids(self, table: str = "payments") -> list[str]:
        """The event ids in a table, doubles included."""
        return sorted(row[0] for row in self.query(f"SELECT event_id FROM {table}"))

    def dead(self) -> list[dict[str, Any]]:
        return read_table(self.letters) if (self.letters / "_delta_log").exists() else []


@pytest.fixture
def account(fakesnow: FakeSnow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    monkeypatch.setenv("TEST_SNOWFLAKE_PASSWORD", "any")
    made = Account(fakesnow, tmp_path)
    yield made
    made.front.stop()
