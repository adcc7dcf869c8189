"""`headrace dlq …` in this process, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable
from typer.testing import CliRunner

from connectors.errors import HeadraceError
from headrace.cli import app


def dlq(config: Path, *arguments: str, code: int = 0) -> str:
    """What the command printed; on stderr where `code` says that it failed."""
    done = CliRunner().invoke(app, ["dlq", *arguments, "-c", str(config)])
    if isinstance(done.exception, HeadraceError) and code == 1:
        return str(done.exception)
    assert done.exit_code == code, (done.output, done.exception)
    return done.output if code else done.stdout


def failed(config: Path, *arguments: str) -> BaseException | None:
    """What a command that is made to die dies of."""
    return CliRunner().invoke(app, ["dlq", *arguments, "-c", str(config)]).exception


def listed(config: Path, *arguments: str) -> list[dict[str, Any]]:
    """The letters that `dlq list` names."""
    found = json.loads(dlq(config, "list", "--json", *arguments))
    assert isinstance(found, list)
    return found


def replayed(config: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What `dlq replay` reports."""
    found = json.loads(dlq(config, "replay", "--json", *arguments, code=code))
    assert isinstance(found, dict)
    return found


def letters(data: Path) -> list[dict[str, Any]]:
    """The table of letters, read without headrace."""
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        files = DeltaTable(str(data / "dead_letters")).file_uris()
        if not files:
            return []
        query = "SELECT * FROM read_parquet($files, union_by_name = true)"
        return engine.sql(query, params={"files": files}).to_arrow_table().to_pylist()  # type: ignore[no-any-return]
