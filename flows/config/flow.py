"""Commas inside parentheses inside `{…}` and `[…]`.

In YAML's flow style a comma ends a plain value, so `{event.amount: DECIMAL(18,2)}` reads as the two entries
`event.amount: DECIMAL(18` and `2): null`. SQL is full of such commas and nobody means the second entry, so a value
whose parentheses are still open takes back what follows it, up to the piece that closes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flows.config.nodes import Node, Scalar

_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")


def rejoined_items(items: list[Node], text: str) -> list[Node]:
    """The items of a flow sequence, those that are pieces of one put together again."""
    return [_whole(items[first], items[last], text) for first, last in _spans(items)]


def rejoined_pairs(pairs: list[tuple[Node, Node]], text: str) -> list[tuple[Node, Node]]:
    """The entries of a flow mapping, those that are pieces of a value put together again."""
    values = [value for _, value in pairs]
    keys = [key if isinstance(value, Scalar) and value.is_null and not value.text else None for key, value in pairs]
    spans = _spans(values, keys)
    return [
        (pairs[first][0], _whole(values[first], pairs[last][0] if last > first else values[first], text))
        for first, last in spans
    ]


def _spans(values: Sequence[Node], pieces: Sequence[Node | None] | None = None) -> list[tuple[int, int]]:
    """What belongs together, as (first, last): a value that leaves a parenthesis open, up to the piece that closes it.

    One pass: where the parentheses of a value are never closed, it and what follows it stay as they are.
    """
    spans: list[tuple[int, int]] = []
    first, balance = 0, 0
    for index, value in enumerate(values):
        if balance:
            piece = (pieces or values)[index]
            balance += _balance(piece)
            if balance < 0 or not isinstance(piece, Scalar):
                spans.extend((alone, alone) for alone in range(first, index))
                balance = 0
            else:
                if balance == 0:
                    spans.append((first, index))
                continue
        first, balance = index, max(_balance(value), 0)
        if balance == 0:
            spans.append((index, index))
    if balance:
        spans.extend((alone, alone) for alone in range(first, len(values)))
    return spans


def _whole(first: Node, last: Node, text: str) -> Node:
    if first is last or not isinstance(first, Scalar) or not isinstance(last, Scalar):
        return first
    return Scalar(" ".join(text[first.start.index : last.end.index].split("\n")), "", first.start, last.end)


def _balance(node: Node | None) -> int:
    if not isinstance(node, Scalar) or node.style:
        return 0
    bare = _QUOTED.sub("", node.text)
    return bare.count("(") - bare.count(")")
