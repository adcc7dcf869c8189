"""The face of headrace: the console script, and what a notebook imports.

import headrace
payments = headrace.table("payments")                  # a pyarrow Table
lake = headrace.connect()                              # a DuckDB connection, a view a stream
lake.sql("SELECT source, count(*) FROM payments GROUP BY ALL").show()
"""

from headrace.lake import connect, table

__all__ = ["connect", "table"]
