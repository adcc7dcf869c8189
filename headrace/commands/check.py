"""`headrace check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.terminal import DEFAULT_CONFIG, AsJson, ConfigFile, announce, print_json, say

if TYPE_CHECKING:
    from flows.config import Samples


def check(
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="[STREAM=]FILE", help="Events: also warn of paths that none of them has. Repeatable."),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Report every problem in headrace.yaml, with its line and column.

    Exits 1 where there is an error; warnings alone exit 0.

    \b
    Example:
      headrace check -c headrace.yaml --json
      headrace check --against payments=events.ndjson
    """
    from flows.config import check as problems_of
    from flows.config import render_rows, render_text

    problems = problems_of(config)
    if against and not any(problem.severity == "error" for problem in problems):
        problems = problems_of(config, samples=_samples(config, against))
    broken = sum(problem.severity == "error" for problem in problems)
    if as_json:
        print_json(render_rows(problems))
    elif problems:
        announce(render_text(problems))
    if broken:
        if not as_json:
            say(f"headrace: {config} has {broken} error{'s' if broken > 1 else ''}")
        raise typer.Exit(1)
    if not as_json:
        announce(f"{config} is valid")


def _samples(config: Path, against: list[str]) -> Samples:
    """The paths of the events in each file, by the stream that it is for: every stream where none is named."""
    from flows.config import load
    from flows.trial import read_examples, sample_paths
    from headrace.trying import stream_named

    loaded = load(config)
    paths: dict[str, frozenset[tuple[str, ...]]] = {}
    for text in against:
        stream, named, file = text.partition("=")
        if named:
            stream_named(loaded, stream)
        found = sample_paths(read_examples(Path(file if named else text)))
        for name in [stream] if named else loaded.streams:
            paths[name] = paths.get(name, frozenset()) | found
    return paths
