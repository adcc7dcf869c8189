"""`drop`: what it names is nowhere, in lists, in values that are no object elsewhere, whatever the case of its letters."""

from __future__ import annotations

import json
from typing import Any

from flows.steps import Drop
from tests.steps.processing import processed


def left(paths: tuple[str, ...], *events: dict[str, Any]) -> list[Any]:
    """(event without NULLs, what goes to `_rescued`) of each event."""
    rows = processed([Drop(paths)], list(events))
    return [(_present(row["event"]), json.loads(f"{{{row['_extra'] or ''}}}")) for row in rows]


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _present(item) for name, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value


def test_lists_are_passed_through() -> None:
    items = [{"k": 1, "j": 2, "m": {"deep": 1, "left": 2}}, None, {"k": 3, "j": 4}]
    event = {"l": items, "ll": [[{"k": 1, "j": 2}]], "only": [{"k": 1}], "n": [1]}
    assert left(("event.l.K", "event.l.m.deep", "event.ll.k", "event.only.k", "event.n.k"), event) == [
        ({"l": [{"j": 2, "m": {"left": 2}}, None, {"j": 4}], "ll": [[{"j": 2}]], "n": [1]}, {})
    ]


def test_names_in_another_case_are_dropped_from_what_is_not_always_an_object() -> None:
    found = left(
        ("event.o.secret",),
        {"o": {"secret": 1, "n": 12345678901234567890}},
        {"o": "text"},
        {"o": {"SECRET": {"x": 1}, "k": 1}},
    )
    assert "ecret" not in str(found).lower().replace("'o'", "")
    assert [json.loads(event.get("o", "null")) for event, _ in found] == [{"n": 12345678901234567890}, "text", {"k": 1}]


def test_elements_of_a_list_of_mixed_kinds_lose_it_too() -> None:
    found = left(("event.l.k",), {"l": [{"k": 1, "j": 1}, "text", [{"K": 2, "j": 2}]]})
    assert json.loads(found[0][0]["l"]) == [{"j": 1}, "text", [{"j": 2}]]
