"""`parse`: reads the text of a field as what it is, and puts its parts beside it.

`settings` is what a user writes; `compiling` the SQL of it; `readings` and `documents` how each kind reads a text.
"""

from __future__ import annotations

from flows.steps.parse.compiling import VALUE_PATH, failed, place_parts, read_text, target
from flows.steps.parse.functions import register
from flows.steps.parse.settings import LEARNED, Parse

__all__ = ["LEARNED", "VALUE_PATH", "Parse", "failed", "place_parts", "read_text", "register", "target"]
