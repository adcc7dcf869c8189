"""Masks single texts and whole JSON documents: what SQL cannot say of a `mask` step."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
from json.encoder import encode_basestring
from typing import Any

from flows.steps.mask.pii import is_card, mask_pii
from flows.steps.mask.settings import MaskKind, Rules

REDACTED = "[redacted]"


class _Number(str):
    """A JSON number as it is written."""

    __slots__ = ()


class Members(list[tuple[str, Any]]):
    """A JSON object's members, a name that is there twice twice."""


_WHOLE = re.compile(r"(-?[0-9]+)\.0+$")
read_json = json.JSONDecoder(
    object_pairs_hook=Members, parse_int=_Number, parse_float=_Number, parse_constant=_Number, strict=False
).decode
"""A JSON document with its numbers as they are written, and every member of an object; `written` is the way back."""


def key_id(key: str) -> str:
    """Eight hexadecimal digits that name a `mask_key` in what it made, and do not tell it."""
    return hmac.new(key.encode(), b"headrace mask key", hashlib.sha256).hexdigest()[:8]


def mask_text(text: str, kind: MaskKind, key: str | None) -> str | None:
    """The text masked; None for `null`."""
    match kind:
        case "redact":
            return REDACTED
        case "last4":
            return "*" * (len(text) - 4) + text[-4:] if len(text) > 4 else "*" * len(text)
        case "hash":
            return hashlib.sha256(text.encode()).hexdigest()
        case "hmac":
            assert key is not None
            return f"{key_id(key)}:{hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()}"
        case "ip24":
            return mask_address(text)
        case "null":
            return None
        case "pii":
            return mask_pii(text)


def mask_address(text: str) -> str:
    """The network of an IP address: /24 of version 4, /48 of version 6; what is no address is redacted whole."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return REDACTED
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    prefix = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network(f"{str(address).partition('%')[0]}/{prefix}", strict=False).network_address)


def mask_json(text: str, rules: Rules, key: str | None) -> str:
    """The JSON document with what `rules` reach masked, and the rest as it was written."""
    try:
        return "".join(_walk(read_json(text), rules, key))
    except (ValueError, RecursionError):  # what cannot be read cannot be masked
        return json.dumps(REDACTED)


def _walk(value: Any, rules: Rules, key: str | None) -> list[str]:
    if not rules.left or value is None:
        return [written(value)]
    if isinstance(value, Members):
        parts = ["{"]
        for name, member in value:
            parts += ["," if len(parts) > 1 else "", encode_basestring(name), ":"]
            parts += _walk(member, rules.below(name), key)
        return [*parts, "}"]
    if isinstance(value, list):
        parts = ["["]
        inside = rules.inside()
        for element in value:
            parts += ["," if len(parts) > 1 else "", *_walk(element, inside, key)]
        return [*parts, "]"]
    kind = rules.kind
    if kind is None:
        return [written(value)]
    if kind == "pii" and not (isinstance(value, str) and not isinstance(value, _Number)):
        found = isinstance(value, _Number) and is_card(_plain(value).removeprefix("-"))
        return ['"[card]"' if found else written(value)]
    masked = mask_text(_plain(value), kind, key)
    return ["null" if masked is None else encode_basestring(masked)]


def _plain(value: Any) -> str:
    """The value's text, the same as that of a typed column."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _WHOLE.sub(r"\1", value) if isinstance(value, _Number) else str(value)


def written(value: Any) -> str:
    """The JSON text of what `read_json` read."""
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, Members):
        return "{" + ",".join(f"{encode_basestring(name)}:{written(member)}" for name, member in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if isinstance(value, str):
        return encode_basestring(value)
    return {None: "null", True: "true", False: "false"}[value]
