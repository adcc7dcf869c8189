"""The tree of a document as structs: driven by their types, every problem told, nothing raised.

A value that is wrong becomes UNSET and its neighbours are read on, so that one mistake does not hide the next; a
configuration with a problem is never used, so no UNSET gets out.
"""

from __future__ import annotations

import re
import types
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import UNSET

from connectors.sinks.complaints import Complaints
from connectors.values import Secret, as_written
from flows.config import nodes
from flows.config.leaf import NUMBERS, Surroundings, read_key, read_leaf, wrong
from flows.config.nodes import Node, Scalar
from flows.config.report import did_you_mean
from flows.config.settings import READ_AS, OneKey
from flows.kinds import Data, Expression

_SECRET_NAME = re.compile(r"passw|secret|token|api_?key|private_?key|access_?key$|credential", re.IGNORECASE)


class Decoder:
    """Reads nodes as values of given types."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._report = around.report

    def value(self, kind: Any, node: Node, path: str, marks: tuple[Any, ...] = ()) -> Any:
        """`node` read as a `kind`, with what its annotations ask of it; UNSET after telling what is wrong."""
        origin = get_origin(kind)
        if kind == Data:
            return self._anything(node, path, Data)
        if origin is Annotated:
            return self.value(kind.__origin__, node, path, (*kind.__metadata__, *marks))
        if one_key := _mark(marks, OneKey):
            return self._one_key(one_key, node, path)
        if origin in (Union, types.UnionType):
            return self._union(kind, node, path, marks)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._tagged((kind,), node, path) if kind.__struct_config__.tag else self.struct(kind, node, path)
        if origin is dict:
            key_kind, item_kind = get_args(kind)
            return self._dict(key_kind, item_kind, node, path)
        if origin in (tuple, list):
            return self._list(origin, get_args(kind)[0], node, path)
        if kind is Any:
            return self._anything(node, path, Any)
        return read_leaf(kind, marks, node, path, self._around)

    def struct(self, cls: type[msgspec.Struct], node: Node, path: str, *, skip: str | None = None) -> Any:
        """A mapping as a `cls`; `skip` names the key that told which struct this is."""
        if not isinstance(node, nodes.Mapping):
            return wrong(self._report, path, node, "a mapping of " + ", ".join(_fields(cls)))
        fields = _fields(cls)
        given: dict[str, Any] = {}
        for key, item in node.entries:
            if key.text == skip:
                continue
            at = _join(path, key.text)
            self._report.place(at, item.start)
            if key.text not in fields:
                suggestion = None if self._report.full else did_you_mean(key.text, fields)
                self._report.add(at, f"unknown key {key.text[:60]!r}", suggestion, mark=key.start)
                continue
            field = fields[key.text]
            kind = READ_AS.get((cls, field.name), field.type)
            if isinstance(item, Scalar) and item.is_null and not field.required and kind is not Expression:
                continue  # a section whose entries are all commented out
            given[field.name] = self.value(kind, item, at)
        for field in fields.values():
            if field.required and field.name not in given:
                if all(key.text != field.encode_name for key, _ in node.entries):
                    self._report.add(path, f"missing: {field.encode_name!r}")
                given[field.name] = UNSET
        return self._made(cls, given, path)

    def _made(self, cls: type[msgspec.Struct], given: dict[str, Any], path: str) -> Any:
        unread = {name for name, value in given.items() if value is UNSET}
        if unread and not hasattr(cls, "__post_init__"):
            return cls(**given)
        if unread:
            self._complain_beside(cls, given, unread, path)
            return UNSET
        try:
            return cls(**given)
        except Complaints as exc:
            for told in exc.told:
                self._complain(cls, told, path)
        except (ValueError, TypeError) as exc:  # what a struct's own __post_init__ refuses
            self._report.add(path, str(exc))
        return UNSET

    def _complain_beside(self, cls: type[msgspec.Struct], given: dict[str, Any], unread: set[str], path: str) -> None:
        """Tells what is wrong with what could be read: defaults, and empty texts, stand in for what could not.

        So nothing is told that names a key which could not be read: it may be of what stands in for it.
        """
        fields = {field.name: field for field in msgspec.structs.fields(cls)}
        texts = {name: "" for name in unread if fields[name].required and _is_text(fields[name].type)}
        names = re.compile(rf"\b({'|'.join(fields[name].encode_name for name in unread)})\b")
        try:
            cls(**{name: value for name, value in given.items() if name not in unread}, **texts)
        except Complaints as exc:
            for told in exc.told:
                if not names.search(told):
                    self._complain(cls, told, path)
        except (ValueError, TypeError):
            return  # it tells one thing at a time, or cannot do without what is missing

    def _complain(self, cls: type[msgspec.Struct], told: str, path: str) -> None:
        """Tells `key: what is wrong; remedy` where the key stands, if it does."""
        key, _, what = told.partition(": ")
        at = _join(path, key)
        if key.partition(".")[0] not in _fields(cls) or not self._report.has(at):
            self._report.add(path, told)
            return
        what, _, remedy = what.partition("; ")
        self._report.add(at, what, remedy or None)

    def _one_key(self, union: OneKey, node: Node, path: str) -> Any:
        if not isinstance(node, nodes.Mapping) or len(node.entries) != 1:
            known = ", ".join(sorted(union.members))
            if isinstance(node, nodes.Mapping) and node.entries:
                names = ", ".join(key.text for key, _ in node.entries)
                remedy = "begin a new '- ' for each" if union.what == "step" else "keep one"
                self._report.add(path, f"one {union.what} has one key; there are {names[:80]}", remedy, mark=node.start)
                return UNSET
            return wrong(self._report, path, node, f"a {union.what}: a mapping with one key of {known}")
        key, item = node.entries[0]
        at = _join(path, key.text)
        self._report.place(at, item.start)
        cls = union.members.get(key.text)
        if cls is None:
            suggestion = did_you_mean(key.text, union.members)
            known = ", ".join(sorted(union.members))
            if suggestion and "did you mean" in suggestion:
                suggestion += f" Known: {known}"
            self._report.add(at, f"unknown {union.what} {key.text[:60]!r}", suggestion, mark=key.start)
            return UNSET
        fields = list(_fields(cls).values())
        if len(fields) > 1:
            empty = isinstance(item, Scalar) and item.is_null and not any(field.required for field in fields)
            return cls() if empty else self.struct(cls, item, at)
        field = fields[0]
        value = self.value(READ_AS.get((cls, field.name), field.type), item, at)
        return self._made(cls, {field.name: value}, at)

    def _union(self, kind: Any, node: Node, path: str, marks: tuple[Any, ...]) -> Any:
        members = get_args(kind)
        if type(None) in members and isinstance(node, Scalar) and node.is_null:
            return None
        members = tuple(member for member in members if member is not type(None))
        if len(members) == 1:
            return self.value(members[0], node, path, marks)
        if all(isinstance(member, type) and issubclass(member, msgspec.Struct) for member in members):
            return self._tagged(members, node, path)
        lists = [member for member in members if get_origin(member) in (list, tuple)]
        others = [member for member in members if member not in lists]
        return self.value((lists if isinstance(node, nodes.Sequence) and lists else others)[0], node, path, marks)

    def _tagged(self, members: tuple[type[msgspec.Struct], ...], node: Node, path: str) -> Any:
        by_tag = {str(member.__struct_config__.tag): member for member in members}
        tag_field = members[0].__struct_config__.tag_field or "type"
        known = ", ".join(sorted(by_tag))
        if not isinstance(node, nodes.Mapping):
            return wrong(self._report, path, node, f"a mapping with a {tag_field!r} ({known})")
        for key, item in node.entries:
            if key.text == tag_field:
                at = _join(path, tag_field)
                self._report.place(at, item.start)
                tag = self.value(str, item, at)
                if tag in by_tag:
                    return self.struct(by_tag[tag], node, path, skip=tag_field)
                if tag is not UNSET:
                    tag = as_written(tag)
                    self._report.add(at, f"unknown {tag_field} {tag[:60]!r}", did_you_mean(tag, by_tag))
                return UNSET
        self._report.add(path, f"missing: {tag_field!r}", f"known: {known}")
        return UNSET

    def _dict(self, key_kind: Any, item_kind: Any, node: Node, path: str) -> Any:
        if isinstance(node, Scalar) and node.is_null:
            return {}  # a section whose entries are all commented out
        if not isinstance(node, nodes.Mapping):
            return wrong(self._report, path, node, "a mapping")
        read: dict[str, Any] = {}
        for key, item in node.entries:
            at = _join(path, key.text)
            self._report.place(at, key.start)
            name = read_key(key_kind, key, at, self._report)
            secret = item_kind is Any and isinstance(item, Scalar) and _SECRET_NAME.search(key.text)
            value = self.value(Secret if secret else item_kind, item, at)
            if name in read:
                self._report.add(at, f"{key.text[:60]!r} is there twice, in other words", mark=key.start)
            read[name] = value
        return read

    def _list(self, origin: Any, item_kind: Any, node: Node, path: str) -> Any:
        if not isinstance(node, nodes.Sequence):
            example = f"write it as a list: [{node.text[:60]}]" if isinstance(node, Scalar) and node.text else None
            return wrong(self._report, path, node, "a list", example)
        read = []
        for index, item in enumerate(node.items):
            at = f"{path}[{index}]"
            self._report.place(at, item.start)
            read.append(self.value(item_kind, item, at))
        return origin(read)

    def _anything(self, node: Node, path: str, kind: Any) -> Any:
        """A value of no declared type (`kind`: Any or Data), read by YAML's core schema."""
        if isinstance(node, nodes.Mapping):
            return self._dict(str, kind, node, path)
        if isinstance(node, nodes.Sequence):
            return self._list(list, kind, node, path)
        if node.is_null:
            return None
        if not node.style:
            for read in NUMBERS.values():
                try:
                    return read(node.text)
                except ValueError:
                    continue
        return self.value(str, msgspec.structs.replace(node, style="'"), path)


@cache
def _fields(cls: type[msgspec.Struct]) -> dict[str, Any]:
    """The struct's fields by the name a person writes."""
    return {field.encode_name: field for field in msgspec.structs.fields(cls)}


def _is_text(kind: Any) -> bool:
    return kind in (str, Secret) or any(_is_text(part) for part in get_args(kind)[:1])


def _mark(marks: tuple[Any, ...], kind: type[Any]) -> Any:
    return next((mark for mark in marks if isinstance(mark, kind)), None)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
