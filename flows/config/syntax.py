"""What libyaml says of broken YAML, in sentences for the person who wrote it."""

from __future__ import annotations

import yaml

Place = tuple[int, int, int]
Explanation = tuple[Place, str, str | None]

_QUOTE = "put the whole value in double quotes"


def explain(error: yaml.MarkedYAMLError, text: str) -> Explanation:  # noqa: PLR0912 - one a mistake
    """Where (index, line, column, from 0), what, and the remedy."""
    problem = error.problem or error.context or "not YAML"
    mark = error.problem_mark or error.context_mark
    place: Place = (mark.index, mark.line, mark.column) if mark else (0, 0, 0)
    context = error.context_mark
    opened: Place = (context.index, context.line, context.column) if context else place
    here = text[place[0] : place[0] + 1]
    before = text[place[0] - place[2] : place[0]]
    if "unexpected end of stream" in problem and "quoted" in (error.context or ""):
        return opened, "a quote is opened and never closed", "close it, or double it where it is part of the value"
    if "tab" in problem or here == "\t":
        return place, "a tab in the indentation", "indent with spaces: YAML allows no tabs there"
    if "cannot start any token" in problem:
        return place, f"a value cannot begin with '{here}' unless it is quoted", _QUOTE
    if "mapping values are not allowed" in problem:
        remedy = "check the indentation; quote a value that holds ': '"
        return place, "a ':' where no key can be: the line is indented wrongly, or a value holds a ':'", remedy
    if "block sequence entries are not allowed" in problem:
        return place, "a '-' where no list can begin", "begin the list on a line of its own, below its key"
    if "flow" in (error.context or "") and "did not find expected" in problem:
        return _in_flow(place, opened, before, error)
    if "did not find expected key" in problem:
        if before.strip() and before.rstrip()[-1:] in "'\"":
            return place, "something follows the closing quote of a value", _QUOTE
        return place, "the indentation fits nothing above", "line it up with the entries that it belongs to"
    if "'-' indicator" in problem:
        return (
            place,
            "the indentation fits nothing above: expected the next '- ' of the list",
            "line it up with the list",
        )
    if "could not find expected ':'" in problem:
        return opened, "a key without its ':'", "write `key: value`; quote a value that goes over several lines"
    if "block scalar" in (error.context or ""):
        return opened, "text right after '|' or '>', which begin a block of text", _QUOTE
    if "unknown escape" in problem:
        return place, "an unknown escape after '\\' in double quotes", "write '\\\\', or use single quotes"
    if "undefined tag" in problem:
        return place, "a tag ('!…') that is not known", "quote the value if it is meant to begin with a '!'"
    if "alphabetic or numeric" in problem:
        return opened, "'&' and '*' begin the name of an anchor or an alias", _QUOTE
    if "<document start>" in problem:
        return place, "text after the end of the document ('...')", "remove the line '...'"
    return place, f"not YAML: {problem}", None


def _in_flow(place: Place, opened: Place, before: str, error: yaml.MarkedYAMLError) -> Explanation:
    bracket = "{" if "mapping" in (error.context or "") else "["
    if place[1] == opened[1] and before.strip():
        what = f"a value inside '{bracket}' ends at a comma, a bracket or a quote that is meant to be part of it"
        return place, what, _QUOTE
    return opened, f"a '{bracket}' is opened and never closed", f"close it with '{'}' if bracket == '{' else ']'}'"
