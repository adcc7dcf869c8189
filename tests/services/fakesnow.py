"""fakesnow, from PyPI: a server that answers as Snowflake does to Snowflake's own connector. It is a fake: DuckDB does
the work, any password is taken, and it has no locks; no account is to be had in a test.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import snowflake.connector

from tests.services.process import ServerProcess, free_ports


class FakeSnow(ServerProcess):
    """Databases in memory, made when somebody signs in to them, gone with the process."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        [self.port] = free_ports(1)
        command = [str(Path(sys.executable).parent / "fakesnow"), "-s", "-p", str(self.port)]
        super().__init__("fakesnow", command, directory / "fakesnow.log", self._answers)

    def query(self, database: str, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a statement, run in the schema PUBLIC."""
        with snowflake.connector.connect(
            account="acme",
            user="reader",
            password="any",
            host="127.0.0.1",
            port=self.port,
            protocol="http",
            database=database,
            schema="PUBLIC",
        ) as connection:
            return list(connection.cursor().execute(sql, tuple(parameters) or None).fetchall())

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
