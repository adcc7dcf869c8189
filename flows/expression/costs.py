"""Which parts of an expression could be much work even over little."""

from __future__ import annotations

from flows.expression import functions
from flows.expression.syntax import Node, children

_MODEST = (
    functions.ARITHMETIC
    | functions.TEMPORAL
    | functions.FORMATS
    | functions.words(
        """
        || -> ->> concat concat_ws lower lcase upper ucase length len strlen char_length character_length trim ltrim rtrim
        substring substr left right reverse translate ascii ord unicode chr hex to_hex bin to_binary base64 to_base64
        from_base64 url_encode url_decode format_bytes sha1 sha256 md5 contains prefix suffix starts_with ends_with instr
        strpos position if ifnull nullif greatest least typeof to_json json_extract json_extract_string json_type
        json_array_length json_exists json_valid json_keys list_value list_contains list_has array_length struct_pack
        struct_extract regexp_matches regexp_extract regexp_full_match make_timestamp make_timestamptz make_date
        to_timestamp to_seconds to_minutes to_hours to_days
        """
    )
)
"""Functions that make nothing much larger than what they are given, in a time that grows with it and no faster."""

_LIKE = functions.words("~~ !~~ ~~* !~~*")
_WILD = 2  # of the marks `%` a pattern may have: with each the time grows by another length of the text


def costly(node: Node) -> Node | None:
    """The first part of an expression whose time or result may grow beyond what it is given."""
    kind = node["class"]
    if kind == "LAMBDA" or (kind == "CAST" and "ARRAY" in str(node["type_expr"])):
        return node
    if kind == "FUNCTION" and not _is_modest(node):
        return node
    return next((found for child in children(node) if (found := costly(child)) is not None), None)


def _is_modest(node: Node) -> bool:
    name = node["function_name"].lower()
    if name in _LIKE:
        pattern = node["arguments"][1]["expression"]
        return pattern["class"] == "CONSTANT" and str(pattern["literal"]["text"]).count("%") <= _WILD
    return name in _MODEST
