"""The DuckDB connection that runs what pipelines compile to: one thread, no files, no network, no settings.

`enable_external_access=false` also turns off the scan of Python variables by name; an Arrow table or a record batch
still comes in through `connection.register(name, table)`, which needs no access to anything. One connection belongs to
one operator and one thread; scale with processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def open_engine(*, memory_limit: str = "1GB") -> duckdb.DuckDBPyConnection:
    """A fresh in-memory database that can read nothing but what is registered, and keeps the order of rows.

    Order: with one thread and `preserve_insertion_order` a query without ORDER BY, joins or aggregates gives rows in
    the order of its input. The time zone is UTC, so an instant's text does not depend on the machine.
    """
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": memory_limit,
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": True,
            "python_enable_replacements": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection
