"""`headrace test`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, print_json, say

if TYPE_CHECKING:
    from flows.trial import Failure, Result


def run_tests(
    stream: Annotated[str, typer.Argument(help="Only the tests of this stream.")] = "",
    junit: Annotated[Path | None, typer.Option(help="Also write the results as JUnit XML, for a CI server.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Run the tests that headrace.yaml holds, through the pipelines that it describes.

    Nothing is written to a destination and the log is not read. Exits 1 where a test fails.

    \b
    Example:
      headrace test payments --junit results.xml
    """
    from flows.config import load_placed
    from flows.trial import run_test
    from headrace.trying import quiet, stream_named

    quiet()
    loaded, places = load_placed(config)
    if stream:
        stream_named(loaded, stream)
    results = [
        run_test(loaded, name, test, places(f"streams.{name}.tests[{index}]"))
        for name, settings in loaded.streams.items()
        if stream in ("", name)
        for index, test in enumerate(settings.tests)
    ]
    if junit is not None:
        from headrace.junit import junit_xml

        junit.write_bytes(junit_xml(results, [failures_of(result) for result in results]))
    failed = sum(not result.passed for result in results)
    if as_json:
        print_json([_row(result) for result in results])
    else:
        for result in results:
            announce(f"{'ok  ' if result.passed else 'FAIL'} {result.stream}: {result.name}")
            if not result.passed:
                announce(f"     {result.file}:{result.line}:{result.column}")
                for line in failures_of(result):
                    announce(f"     {line}")
        if not results:
            say(f"headrace: {config} has no tests" + (f" of the stream '{stream}'" if stream else ""))
        elif failed:
            say(f"headrace: {failed} of {len(results)} tests failed")
        else:
            announce(f"{len(results)} test{'s' if len(results) > 1 else ''} passed")
    if failed:
        raise typer.Exit(1)


def failures_of(result: Result) -> list[str]:
    """What went wrong, in lines: destination, row, path, expected and got."""
    return [line for failure in result.failures for line in _lines(failure)]


def _lines(failure: Failure) -> list[str]:
    import orjson

    def shown(value: Any) -> str:
        return "nothing" if value is None else orjson.dumps(value, default=str).decode()

    if failure.message is not None:
        rows = failure.got if isinstance(failure.got, list) else []
        return [f"{failure.destination}: {failure.message}", *(f"  got {shown(row)}" for row in rows[:10])]
    where = f"{failure.destination}[{failure.row}].{failure.path}"
    return [where, f"  - expected {shown(failure.expected)}", f"  + got      {shown(failure.got)}"]


def _row(result: Result) -> dict[str, Any]:
    import msgspec

    row: dict[str, Any] = {field: getattr(result, field) for field in result.__struct_fields__ if field != "failures"}
    row["failures"] = [{**msgspec.structs.asdict(failure)} for failure in result.failures]
    return row
