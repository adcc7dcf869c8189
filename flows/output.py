"""The last layer of a pipeline's query: flat columns become the rows a destination takes.

`event` and `metadata` become structs again, a nested object that has nothing in it becomes NULL, and what no typed
column carries becomes members of a JSON object (`_extra`, see `connectors.sinks.conform`).
"""

from __future__ import annotations

from flows.columns import (
    EVENT_ID,
    EXTRA,
    LATE,
    NO_EXTRA,
    OFFSET,
    RECEIVED_AT,
    SAMPLE_RATE,
    SOURCE,
    SYSTEM,
    TIMESTAMP,
    Columns,
    Path,
    column,
    quoted,
)

Tree = dict[str, "Tree | Path"]


def rows_query(columns: Columns, source: str, also: tuple[str, ...] = ()) -> tuple[str, tuple[Path, ...]]:
    """(query, paths of JSON columns): the rows of `source` as a destination takes them, in the same order.

    `also` are columns of `source` to hand through: the fate and the routes of each row.
    """
    items = [f"{column(path)}" for path in (EVENT_ID, TIMESTAMP, RECEIVED_AT, SOURCE)]
    for root in ("event", "metadata"):
        tree = _tree(columns, root)
        if tree:
            struct = _struct(tree)
            present = " OR ".join(f"{column(path)} IS NOT NULL" for path in _leaves(tree))
            items.append(f"{struct if root == 'event' else f'CASE WHEN {present} THEN {struct} END'} AS {root}")
    items += [
        column(SAMPLE_RATE),
        f"coalesce({column(LATE)}, false) AS _late" if LATE in columns else "false AS _late",
        f"{_members(columns)} AS _extra",
        f"{_date(column(TIMESTAMP))} AS date",
        column(OFFSET),
    ]
    items += [quoted(name) for name in also]
    json = tuple(path for path, kind in columns.items() if kind == "JSON" and path not in SYSTEM and path != EXTRA)
    return f"SELECT {', '.join(items)} FROM ({source})", json


def _date(instant: str) -> str:
    """The day in UTC. The cast of an instant asks a calendar of time zones, ten times as long: it is for infinity alone."""
    return f"coalesce(CAST(make_timestamp(epoch_us({instant})) AS DATE), CAST({instant} AS DATE))"


def _members(columns: Columns) -> str:
    if columns.get(EXTRA) == NO_EXTRA:
        return "NULL::VARCHAR"
    members = "[to_json(e.key)::VARCHAR || ':' || e.value::VARCHAR FOR e IN map_entries(_extra)]"
    return f"CASE WHEN cardinality(_extra) > 0 THEN array_to_string({members}, ',') END"


def _tree(columns: Columns, root: str) -> Tree:
    tree: Tree = {}
    for path in columns:
        if path[0] != root or path in SYSTEM:
            continue
        node = tree
        for part in path[1:-1]:
            child = node.setdefault(part, {})
            assert isinstance(child, dict)
            node = child
        node[path[-1]] = path
    return tree


def _leaves(tree: Tree) -> list[Path]:
    found: list[Path] = []
    for child in tree.values():
        found += _leaves(child) if isinstance(child, dict) else [child]
    return found


def _struct(tree: Tree) -> str:
    fields = []
    for name, child in tree.items():
        if isinstance(child, dict):
            present = " OR ".join(f"{column(path)} IS NOT NULL" for path in _leaves(child))
            fields.append(f"{quoted(name)} := CASE WHEN {present} THEN {_struct(child)} END")
        else:
            fields.append(f"{quoted(name)} := {column(child)}")
    return f"struct_pack({', '.join(fields)})"
