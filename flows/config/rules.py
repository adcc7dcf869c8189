"""What must hold between the parts of a configuration: names, identifiers, routes, paths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from connectors.values import as_written
from flows.columns import Path
from flows.config.logs import check_log
from flows.config.paths import ROOTS, field_path
from flows.config.report import Report, did_you_mean
from flows.config.settings import DEFAULT_DESTINATION, Stream
from flows.config.tables import check_destination, check_tables
from flows.config.windows import check_rollups, check_windows, tables_of
from flows.routes import Route
from flows.steps import Drop, Mask, Parse, Sample, Set


def check_rules(grammar: Any, report: Report) -> None:
    """Tells `report` what is wrong with a `Grammar` whose parts were read; a part that could not be is UNSET."""
    streams = _known(grammar.streams)
    destinations = _known(grammar.destinations)
    if grammar.streams == {} and not report.problems():
        report.add("streams", "there is no stream", "name one and give it an id: `my-stream: {id: <uuid>}`")
    _check_case("streams", _names(grammar.streams), report)
    _check_case("destinations", _names(grammar.destinations), report)
    check_log(grammar.log, list(streams), report)
    for name, destination in destinations.items():
        check_destination(f"destinations.{name}", destination, report)
    _check_ids(streams, report)
    named = list(_names(grammar.destinations)) or [DEFAULT_DESTINATION]
    for name, stream in streams.items():
        path = f"streams.{name}"
        _check_types(path, stream, report)
        _check_steps(path, stream, report)
        _check_masks(path, stream, grammar.mask_key, report)
        _check_tests(path, stream, report)
        check_windows(path, _items(stream.steps), report)
        check_rollups(
            name, _items(stream.rollups), named if grammar.destinations is not UNSET else None, streams, report
        )
        if grammar.destinations is not UNSET:
            _check_routes(path, stream, named, report)
    tables = {name: routed_to(stream) for name, stream in streams.items()}
    for name, stream in streams.items():
        tables |= tables_of(name, _items(stream.rollups))
    check_tables(tables, destinations, report)


def routed_to(stream: Stream) -> list[str]:
    """The destinations that a stream's events can go to."""
    routes = [route for route in _items(stream.routes) if route is not UNSET]
    named = [name for route in routes for name in _items(route.to)]
    if not any(route.when is None and not route.also for route in routes):
        named.append(DEFAULT_DESTINATION)
    return list(dict.fromkeys(named))


def _check_case(section: str, names: Iterable[str], report: Report) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            report.add(
                f"{section}.{name}",
                f"{name!r} and {other!r} differ only in case",
                "names become directories: give one another name",
            )


def _check_ids(streams: dict[str, Any], report: Report) -> None:
    seen: dict[str, str] = {}
    for name, stream in streams.items():
        if stream.id is not UNSET and (other := seen.setdefault(stream.id, name)) != name:
            report.add(f"streams.{name}.id", f"stream {other!r} has this id too", "give each stream its own UUID")


def _check_types(path: str, stream: Any, report: Report) -> None:
    if stream.types is UNSET:
        return
    parsed = {name: parts for name in stream.types if (parts := _parts(name.lower()))}
    for name, parts in parsed.items():
        at = f"{path}.types.{name}"
        if len(parts) < 2 or parts[0] not in ROOTS:
            report.add(at, f"{name!r} has no type to give; only what is below event and metadata has")
        elif "*" in parts:
            report.add(at, "a type is given to one path; '*' cannot stand here")
        for other, other_parts in parsed.items():
            if len(other_parts) < len(parts) and parts[: len(other_parts)] == other_parts:
                report.add(at, f"{other!r}, which it is below, has a type of its own", "keep one of them")


def _refuse_star(where: str, step: str, name: str, report: Report) -> None:
    above = as_written(name).partition('."*"')[0]
    remedy = f"name what is above it, {above}, or each field" if "." in above else "name each field"
    report.add(where, f"'*' stands for all names only in a mask, not in a {step}", remedy)


def _check_steps(path: str, stream: Stream, report: Report) -> None:
    for index, step in enumerate(_items(stream.steps)):
        at = f"{path}.steps[{index}]"
        if isinstance(step, Drop):
            for place, name in enumerate(_items(step.paths)):
                if name is not UNSET and "*" in _parts(name):
                    _refuse_star(f"{at}.drop[{place}]", "drop", name, report)
                elif name is not UNSET and (len(parts := _parts(name)) < 2 or parts[0] not in ROOTS):
                    remedy = "name a field below event or metadata"
                    report.add(
                        f"{at}.drop[{place}]",
                        f"{as_written(name)!r} is part of every event and cannot be dropped",
                        remedy,
                    )
        elif isinstance(step, Parse):
            from flows.steps.parse.check import complaints  # here: it compiles patterns, and few files have any

            for found in complaints(step):
                where = f"{at}.parse.{found.key}" if found.key else f"{at}.parse"
                report.add(where, found.message, found.suggestion, severity=found.severity)
        elif isinstance(step, Sample):
            _check_sample(f"{at}.sample", step, report)
        elif isinstance(step, Set):
            for name in _names(step.assignments):
                if "*" in _parts(name):
                    _refuse_star(f"{at}.set.{name}", "set", name, report)
                elif _parts(name) in {(root,) for root in ROOTS}:
                    remedy = f"set a field below it: {name}.…"
                    report.add(f"{at}.set.{name}", f"{name!r} cannot be set as a whole", remedy)


def _check_sample(at: str, step: Sample, report: Report) -> None:
    said = [name for name in ("rate", "per", "dynamic") if getattr(step, name) is not None]
    if not said:
        report.add(at, "missing: 'rate', 'per' or 'dynamic'", "keep a tenth: {rate: 0.1}")
    elif len(said) > 1:
        report.add(f"{at}.{said[1]}", f"{' and '.join(map(repr, said))} exclude each other", "keep one of them")
    elif said != ["rate"] and step.key is not None:
        report.add(f"{at}.key", f"'key' belongs to 'rate'; {said[0]!r} has its own", f"write {said[0]}: {{key: …}}")


def _check_masks(path: str, stream: Stream, mask_key: Any, report: Report) -> None:
    for index, step in enumerate(_items(stream.steps)):
        if not isinstance(step, Mask):
            continue
        for name, kind in _known(step.fields).items():
            at = f"{path}.steps[{index}].mask.{name}"
            if len(parts := _parts(name)) == 1 or (parts and parts[0] not in ROOTS):
                remedy = f"mask what is below it: {name}.*" if name in ROOTS else "name a field below event or metadata"
                report.add(at, f"{name!r} cannot be masked", remedy)
            if kind == "hmac" and UNSET not in (stream.mask_key, mask_key) and not (stream.mask_key or mask_key):
                report.add(at, "hmac needs a key", "add `mask_key: ${ENV_NAME}` to the stream, or to the file")


def _check_tests(path: str, stream: Stream, report: Report) -> None:
    for index, test in enumerate(_items(stream.tests)):
        expected = {} if test is UNSET else _known(test.expect)
        for name, rows in expected.items():
            for place, row in enumerate(rows):
                for field in _names(row):
                    try:
                        field_path(field)
                    except ValueError as exc:
                        report.add(f"{path}.tests[{index}].expect.{name}[{place}].{field}", str(exc))


def _check_routes(path: str, stream: Any, destinations: list[str], report: Report) -> None:
    routes = _items(stream.routes)
    caught = False
    for index, route in enumerate(routes):
        if route is UNSET:
            continue
        at = f"{path}.routes[{index}]"
        if caught:
            report.add(
                at, "no event comes here: the route before it takes every one", "put it first", severity="warning"
            )
        _check_route(at, route, destinations, report)
        caught = caught or (route.when is None and not route.also)
    if caught or DEFAULT_DESTINATION in destinations or stream.routes is UNSET:
        return
    if any(route is UNSET or route.when is None for route in routes):
        return
    remedy = f"end the routes with a catch-all: {{to: [{destinations[0]}]}}"
    if not routes:
        report.add(path, "has no routes, and there is no destination 'lake' to send all events to", remedy)
    else:
        what = "an event that no route matches goes nowhere: there is no destination 'lake'"
        report.add(f"{path}.routes", what, remedy, severity="warning")


def _check_route(at: str, route: Route, destinations: list[str], report: Report) -> None:
    if route.to == ():
        report.add(f"{at}.to", "names no destination", "name one, or drop the events with a filter")
    for place, name in enumerate(_items(route.to)):
        said = as_written(name)
        if name in route.to[:place] and name is not UNSET:
            report.add(f"{at}.to[{place}]", f"{said!r} is named twice", "name it once", severity="warning")
        if name is not UNSET and name not in destinations:
            report.add(f"{at}.to[{place}]", f"unknown destination {said[:60]!r}", did_you_mean(said, destinations))


def _known(section: Any) -> dict[str, Any]:
    """The entries that could be read."""
    return {} if section is UNSET else {name: item for name, item in section.items() if item is not UNSET}


def _names(section: Any) -> list[str]:
    return [] if section is UNSET else list(section)


def _items(items: Any) -> list[Any]:
    return [] if items is UNSET else list(items)


def _parts(path: str) -> Path:
    """The parts of a path; none of one that was already told to be none."""
    try:
        return field_path(path)
    except ValueError:
        return ()
