"""What a text in a step or a route means: SQL, or the path of a field. `flows.config` checks each as what it is."""

from __future__ import annotations

from typing import Annotated, Any

from connectors.values import Kind

Expression = Annotated[str, Kind("expression")]
"""SQL over one event: DuckDB's dialect, restricted to the event's own fields."""

FieldPath = Annotated[str, Kind("path")]
"""The path of a field of the event: `event.status`, `metadata."a b"`."""

Aggregate = Annotated[str, Kind("aggregate")]
"""SQL over many events: aggregates of expressions, `sum(event.amount)`, and what is computed from them."""

Identifier = Annotated[str, Kind("identifier")]
"""A name that becomes a field or a column: letters, digits and `_`."""

Data = Annotated[Any, Kind("data")]
"""A value of an example event, as it stands: a key called `password` in it holds no secret of ours."""
