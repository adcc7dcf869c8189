"""Which texts of a configuration are templates, and where in an address and a body a field may stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.sinks.phrase import Phrase, phrase
from connectors.values import Secret

_BEFORE_FIELDS = re.compile(r"https?://[^/?#{}]+/", re.IGNORECASE)


def is_template(text: str) -> bool:
    """Whether fields of the event may stand in `text`: not where it came out of the environment."""
    return not isinstance(text, Secret)


def field_phrase(text: str) -> Phrase | None:
    """The template that `text` is; None where no field is in it. ValueError where a brace is not part of a field."""
    parsed = phrase(text) if is_template(text) else None
    return None if parsed is None or parsed.constant is not None else parsed


def check_url(url: str) -> None:
    """ValueError with a sentence where a field stands in an address that an event may not choose."""
    parts = phrase(url).parts
    before = ""
    for part in parts:
        if isinstance(part, str):
            before += part
        elif part == ("stream",):
            before += "stream"
        elif not _BEFORE_FIELDS.match(before):
            raise ValueError("events could choose any server; fields come after its host and a '/'")


def check_body(body: Any) -> None:
    """ValueError with a sentence where a text of the body is no template."""
    if isinstance(body, str):
        if is_template(body):
            phrase(body)
    elif isinstance(body, Mapping):
        for item in body.values():
            check_body(item)
    elif isinstance(body, list):
        for item in body:
            check_body(item)
