"""Reads a configuration file: text, tree, structs, rules; then defaults filled in and paths made absolute."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from connectors.errors import ConfigError
from connectors.log.settings import EmbeddedLogSettings, with_topics
from connectors.sinks.place import Place
from connectors.sinks.settings import DeltaDestination, Destination
from connectors.values import Secret
from flows.config import document
from flows.config.costs import check_costs
from flows.config.decode import Decoder
from flows.config.foresight import check_foresight
from flows.config.leaf import Surroundings
from flows.config.lookups import check_lookups
from flows.config.nodes import Mark
from flows.config.paths import field_path
from flows.config.problems import InvalidConfig, Problem, errors
from flows.config.report import Report
from flows.config.rules import check_rules
from flows.config.samples import Samples, check_samples
from flows.config.settings import DEFAULT_DESTINATION, Config, Grammar, Stream
from flows.config.sqltypes import leaves
from flows.steps import Enrich

Places = Callable[[str], tuple[int, int]]


def load(
    path: str | Path, environment: Mapping[str, str] | None = None, *, text: bytes | None = None, files: bool = False
) -> Config:
    """The configuration in the file `path`; `environment` (default: the process's) is what `${NAME}` is read from.

    With `text` the file is not read: it stands for what the file held at some time. With `files` those that it names must
    be there and be what it says, as `check` wants them; a process that is started again while one is being replaced does
    not ask.

    Raises InvalidConfig with every problem, ConfigError where the file cannot be read at all.
    """
    return load_placed(path, environment, text=text, files=files)[0]


def check(
    path: str | Path, environment: Mapping[str, str] | None = None, *, samples: Samples | None = None
) -> list[Problem]:
    """Every problem of the file, warnings included, in the order of the file.

    `samples` gives by stream the paths that events of it have: a path that is not among them is a warning.

    Raises ConfigError where the file cannot be read at all.
    """
    report = Report(str(path))
    return _read(Path(path), os.environ if environment is None else environment, report, samples, files=True)[1]


def load_placed(
    path: str | Path, environment: Mapping[str, str] | None = None, *, text: bytes | None = None, files: bool = False
) -> tuple[Config, Places]:
    """As `load`, and where in the file (line and column, from 1) a dotted path of it stands."""
    report = Report(str(path))
    known = os.environ if environment is None else environment
    config, problems = _read(Path(path), known, report, text=text, files=files)
    if config is None:
        raise InvalidConfig(problems)
    return config, report.place_of


def _read(
    path: Path,
    environment: Mapping[str, str],
    report: Report,
    samples: Samples | None = None,
    *,
    text: bytes | None = None,
    files: bool,
) -> tuple[Config | None, list[Problem]]:
    held = _text(path, text)
    if isinstance(held, UnicodeDecodeError):
        before = held.object[: held.start]
        mark = Mark(held.start, before.count(b"\n"), held.start - before.rfind(b"\n") - 1)
        report.add("", "a byte that is not UTF-8", "save the file as UTF-8", mark=mark)
        return None, report.problems()
    grammar = _grammar(held, path, report, environment)
    if not isinstance(grammar, Grammar):
        return None, report.problems()
    check_rules(grammar, report)
    check_lookups(grammar, report, files=files)
    if not errors(report.problems()):
        check_costs(grammar, report)
    if not errors(report.problems()):
        check_foresight(grammar, report)
        check_samples(grammar, samples or {}, report)
    problems = report.problems()
    return (None if errors(problems) else _config(grammar, path)), problems


def read_text(path: Path) -> bytes:
    """What a configuration file holds. Raises ConfigError where it cannot be read, or is none by its size."""
    try:
        size = path.stat().st_size
        if size > 4 * document.MAX_CHARACTERS:
            raise ConfigError(f"{path} has {size:,} bytes, too many for a configuration", remedy="name the right file")
        return path.read_bytes()
    except FileNotFoundError:
        remedy = "make one with `headrace init`, or name it with -c FILE or HEADRACE_CONFIG"
        raise ConfigError(f"there is no configuration {path}", remedy=remedy) from None
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise ConfigError(f"reading {path}: {reason}", remedy="name a readable file with -c FILE") from exc


def _text(path: Path, held: bytes | None) -> str | UnicodeDecodeError:
    try:
        return (read_text(path) if held is None else held).decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        return exc


def _grammar(text: str, path: Path, report: Report, environment: Mapping[str, str]) -> Any:
    try:
        root = document.parse(text, lambda mark, message, remedy: report.add("", message, remedy, mark=mark))
    except document.Unreadable as exc:
        report.add("", exc.message, exc.suggestion, mark=exc.mark)
        return None
    if root is None:
        report.add("", "the file is empty", "`headrace init` writes one to begin with")
        return None
    return Decoder(Surroundings(report, text, path.absolute().parent, environment)).value(Grammar, root, "")


def _config(grammar: Grammar, path: Path) -> Config:
    """Fills in what depends on where the file is."""
    file = path.absolute()
    data = grammar.data if grammar.data.is_absolute() else Path(os.path.normpath(file.parent / grammar.data))
    log = grammar.log or EmbeddedLogSettings()
    if isinstance(log, EmbeddedLogSettings) and not log.path.is_absolute():
        log = msgspec.structs.replace(log, path=data / "log")
    destinations = {name: _placed(destination, file.parent) for name, destination in grammar.destinations.items()}
    if not destinations:
        destinations = {DEFAULT_DESTINATION: DeltaDestination(uri=f"{data}/lake/{{stream}}")}
    streams = {name: _whole(stream, grammar) for name, stream in grammar.streams.items()}
    log = with_topics(log, {stream.id: name for name, stream in streams.items()})
    return Config(log=log, data=data, destinations=destinations, streams=streams, file=file)


def _placed(destination: Destination, base: Path) -> Destination:
    if not isinstance(destination, Place) or "://" in destination.uri:
        return destination
    uri: str = os.path.normpath(base / Path(destination.uri).expanduser())
    if isinstance(destination.uri, Secret):
        uri = Secret(uri, destination.uri.template)
    return msgspec.structs.replace(destination, uri=uri)


def _whole(stream: Stream, grammar: Grammar) -> Stream:
    """The stream with what it uses of the file, and `types` by leaf: a STRUCT stands for its fields'."""
    by_leaf = [leaves(field_path(path), text) for path, text in stream.types.items()]
    types = {leaf: text for types in by_leaf for leaf, text in types.items()}
    known = {**grammar.lookups, **stream.lookups}
    named = {step.lookup: known[step.lookup] for step in stream.steps if isinstance(step, Enrich)}
    return msgspec.structs.replace(stream, types=types, mask_key=stream.mask_key or grammar.mask_key, lookups=named)
