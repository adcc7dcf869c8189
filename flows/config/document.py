"""YAML text as a tree of marked nodes: nothing interpreted, every position kept.

Built from libyaml's events rather than by `yaml.compose`, whose recursion a deep document overflows and which reads
plain scalars by YAML 1.1 (`on` and `no` are booleans there). What a scalar means is decided by the setting it is for.
A document is bounded in size, depth and in what its aliases expand to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import yaml

from flows.config.flow import rejoined_items, rejoined_pairs
from flows.config.nodes import Mapping, Mark, Node, Scalar, Sequence
from flows.config.syntax import explain

MAX_CHARACTERS = 2_000_000
MAX_DEPTH = 64
MAX_NODES = 400_000

_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}


Tell = Callable[[Mark, str, str | None], None]


class Unreadable(Exception):
    """The text is not a YAML document that can be used; where, why and the remedy."""

    def __init__(self, mark: Mark, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message
        self.suggestion = suggestion


def parse(text: str, tell: Tell) -> Node | None:
    """The document in `text`, None if it is empty. `tell` hears of what can be passed over (a duplicate key).

    Raises Unreadable where no tree can be made.
    """
    start = Mark(0, 0, 0)
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(start, f"a configuration of {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    try:
        return _Builder(text, tell).build(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as exc:
        at, message, suggestion = explain(exc, text)
        raise Unreadable(Mark(*at), message, suggestion) from None
    except yaml.reader.ReaderError as exc:
        index = exc.position if isinstance(exc.position, int) else 0
        before = text[:index]
        mark = Mark(index, before.count("\n"), index - before.rfind("\n") - 1)
        raise Unreadable(mark, "a character that YAML does not allow (a control character)", "remove it") from None
    except UnicodeEncodeError as exc:
        before = text[: exc.start]
        mark = Mark(exc.start, before.count("\n"), exc.start - before.rfind("\n") - 1)
        raise Unreadable(mark, "a character that is no Unicode text (a lone surrogate)", "remove it") from None


class _Builder:
    """Makes the tree from events, without recursion: a stack of what is open."""

    def __init__(self, text: str, tell: Tell) -> None:
        self._text = text
        self._tell = tell
        self._anchors: dict[str, Node | None] = {}
        self._weights: dict[int, int] = {}  # by id(): how many nodes a node stands for, aliases written out

    def build(self, events: Iterator[yaml.Event]) -> Node | None:
        root: Node | None = None
        open_: list[tuple[Sequence | Mapping, list[Node], str | None]] = []
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise Unreadable(_mark(event), "a second document in the file", "keep one; remove the line '---'")
            if isinstance(event, yaml.CollectionStartEvent):
                if len(open_) >= MAX_DEPTH:
                    raise Unreadable(_mark(event), f"nested deeper than {MAX_DEPTH} levels")
                self._check_tag(event)
                if event.anchor:
                    self._anchors[event.anchor] = None  # known, but not to be used before it is complete
                kind = Sequence if isinstance(event, yaml.SequenceStartEvent) else Mapping
                open_.append((kind([], _mark(event), bool(event.flow_style)), [], event.anchor))
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                made, children, anchor = open_.pop()
                node: Node = self._close(made, children)
            elif isinstance(event, yaml.ScalarEvent):
                node, anchor = self._scalar(event), event.anchor
            elif isinstance(event, yaml.AliasEvent):
                node, anchor = self._alias(event), None
            else:
                continue
            if anchor:
                self._anchors[anchor] = node
            if open_:
                open_[-1][1].append(node)
            else:
                root = node
        return None if isinstance(root, Scalar) and root.is_null else root

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        self._check_tag(event)
        start, end = _mark(event), _mark(event, end=True)
        tag = (event.tag or "").rpartition(":")[2] if event.tag != "!" else "str"
        return Scalar(event.value, event.style or "", start, end, tag)

    def _alias(self, event: yaml.AliasEvent) -> Node:
        node = self._anchors.get(event.anchor or "")
        if node is not None:
            return node
        if event.anchor in self._anchors:
            raise Unreadable(_mark(event), f"the alias '*{event.anchor}' is inside of what it stands for")
        remedy = "quote the value if it is meant to begin with a '*'"
        raise Unreadable(_mark(event), f"no anchor '&{event.anchor}' before the alias '*{event.anchor}'", remedy)

    def _close(self, made: Sequence | Mapping, children: list[Node]) -> Node:
        if isinstance(made, Sequence):
            made.items = rejoined_items(children, self._text) if made.flow else children
        else:
            pairs = list(zip(children[::2], children[1::2], strict=True))
            made.entries = self._entries(rejoined_pairs(pairs, self._text) if made.flow else pairs)
            children = [node for entry in made.entries for node in entry]
        weight = 1 + sum(self._weights.get(id(child), 1) for child in children)
        if weight > MAX_NODES:
            raise Unreadable(made.start, f"aliases expand to more than {MAX_NODES:,} values")
        self._weights[id(made)] = weight
        return made

    def _entries(self, pairs: list[tuple[Node, Node]]) -> list[tuple[Scalar, Node]]:
        """Keys that are texts, each once, and after them what merge keys (`<<`) bring."""
        own: dict[str, tuple[Scalar, Node]] = {}
        merged: dict[str, tuple[Scalar, Node]] = {}
        for key, value in pairs:
            if not isinstance(key, Scalar):
                self._tell(key.start, "a key that is a list or a mapping", "a key is a text")
            elif key.is_null:
                self._tell(key.start, "a key that is empty or null", "a key is a text; quote it")
            elif key.text == "<<" and not key.style:
                for name, entry in self._merge(key, value):
                    merged.setdefault(name, entry)
            elif key.text in own:
                first = own[key.text][0].start.line + 1
                self._tell(
                    key.start, f"the key {key.text!r} is there twice (first in line {first})", "keep one of them"
                )
            else:
                own[key.text] = (key, value)
        return [*own.values(), *(entry for name, entry in merged.items() if name not in own)]

    def _merge(self, key: Scalar, value: Node) -> Iterator[tuple[str, tuple[Scalar, Node]]]:
        for source in value.items if isinstance(value, Sequence) else [value]:
            if not isinstance(source, Mapping):
                self._tell(key.start, "a merge key '<<' without a mapping", "write `<<: *anchor` of a mapping")
                return
            for entry in source.entries:
                yield entry[0].text, entry

    def _check_tag(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag and tag != "!" and tag not in _TAGS:
            remedy = "quote the value if it is meant to begin with a '!'"
            raise Unreadable(_mark(event), f"the tag {tag.replace('tag:yaml.org,2002:', '!!')!r} is not known", remedy)


def _mark(event: yaml.Event, *, end: bool = False) -> Mark:
    mark: Any = event.end_mark if end else event.start_mark
    return Mark(mark.index, mark.line, mark.column)
