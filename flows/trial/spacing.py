"""SQL on several lines: an item of a SELECT a line, the columns that only pass through together, long items broken.

Only white space is put in, and only outside of quotes, so it is the same statement.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

_WIDTH = 110
_INDENT = "  "
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()\[\]{},]|[^'\"()\[\]{},]+")
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_PLAIN = re.compile(r'"(?:[^"]|"")*"$|\w+$')


def spaced(sql: str, level: int) -> str:
    """`sql`, a SELECT of one relation, laid out and indented by `level`."""
    if any("\n" in text for text in _QUOTED.findall(sql)):
        return sql  # an indent would become part of the text
    lines = list(_select(sql))
    return "\n".join(textwrap.indent(line, _INDENT * level) for line in lines)


def _select(sql: str) -> Iterator[str]:
    if not sql.startswith("SELECT "):
        yield sql
        return
    body = sql.removeprefix("SELECT ")
    at = _top_level(body, " FROM ")
    items, rest = (body, "") if at is None else (body[:at], body[at + 1 :])
    yield "SELECT"
    whole = list(_items(items))
    for number, line in enumerate(whole):
        yield textwrap.indent(line + ("," if number + 1 < len(whole) else ""), _INDENT)
    if rest.startswith("FROM (SELECT "):
        end = _closing(rest, len("FROM "))
        yield "FROM ("
        for line in _select(rest[len("FROM (") : end]):
            yield textwrap.indent(line, _INDENT)
        yield rest[end:]
    elif rest:
        yield rest


def _items(text: str) -> Iterator[str]:
    """The items of a SELECT; those that only name a column are gathered on lines."""
    gathered: list[str] = []
    for item in _split(text):
        if _PLAIN.match(item):
            gathered.append(item)
            continue
        yield from _gathered(gathered)
        gathered = []
        yield _broken(item)
    yield from _gathered(gathered)


def _gathered(items: list[str]) -> Iterator[str]:
    line: list[str] = []
    for item in items:
        if line and sum(len(one) + 2 for one in line) + len(item) > _WIDTH:
            yield ", ".join(line)
            line = []
        line.append(item)
    if line:
        yield ", ".join(line)


def _broken(item: str) -> str:
    """A long item with the parts of its outermost list on lines of their own."""
    if len(item) <= _WIDTH:
        return item
    place = 0
    for piece in _tokens(item):
        if piece in "([{" and len(piece) == 1:
            end = _closing(item, place)
            inside = item[place + 1 : end]
            parts = list(_split(inside))
            if len(inside) > _WIDTH // 2 and parts and not inside.startswith("SELECT "):
                broken = ",\n".join(textwrap.indent(_broken(part), _INDENT) for part in parts)
                tail = _broken(item[end:]) if len(item) - end > _WIDTH else item[end:]
                return f"{item[: place + 1]}\n{broken}\n{tail}"
        place += len(piece)
    return item


def _tokens(text: str) -> list[str]:
    """The text in pieces: quoted texts, brackets and commas each by itself."""
    return [match[0] for match in _TOKEN.finditer(text)]


def _split(text: str) -> Iterator[str]:
    """The parts of a list, at its commas outside of quotes and brackets."""
    depth, part = 0, ""
    for piece in _tokens(text):
        if piece in ("(", "[", "{"):
            depth += 1
        elif piece in (")", "]", "}"):
            depth -= 1
        if piece == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += piece
    if part.strip():
        yield part.strip()


def _closing(text: str, opening: int) -> int:
    """The index of the bracket that closes the one at `opening`."""
    depth, place = 0, opening
    for piece in _tokens(text[opening:]):
        if piece in ("(", "[", "{"):
            depth += 1
        elif piece in (")", "]", "}"):
            depth -= 1
            if depth == 0:
                return place
        place += len(piece)
    return len(text) - 1


def _top_level(text: str, word: str) -> int | None:
    """Where `word` stands outside of quotes and brackets."""
    depth, place = 0, 0
    for piece in _tokens(text):
        if piece in ("(", "[", "{"):
            depth += 1
        elif piece in (")", "]", "}"):
            depth -= 1
        elif depth == 0 and piece[0] not in "'\"" and word in piece + " ":
            return place + (piece + " ").index(word)
        place += len(piece)
    return None
