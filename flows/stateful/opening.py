"""The steps of a stream that have a memory, opened: each with the key that its state lies under.

A step's key is what its settings say, so a step that is moved keeps its state and one that is changed begins anew; what
the old one held is given up by `release`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Literal

import duckdb
import msgspec
import pyarrow as pa

from flows.config import Stream
from flows.rollups import Rollup, table_of
from flows.stateful.operator import Flat, Operator
from flows.stateful.rollup import open_rollup
from flows.stateful.sampler import open_sampler
from flows.stateful.window import open_window
from flows.steps import Sample, Step, Window, has_memory


class Opened(msgspec.Struct, frozen=True):
    """One step with a memory. `definition` can make it anew; `index` is its place among the stream's steps.

    A rollup has no place: its rows go `to` these destinations, into `table`.
    """

    key: str
    definition: bytes
    operator: Operator
    index: int = -1
    to: tuple[str, ...] = ()
    table: str = ""


class _Definition(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: Literal["window", "sample", "rollup"]
    window: Window | None = None
    sample: Sample | None = None
    index: int = 0
    stage: int = 0
    rollup: Rollup | None = None
    stream: str = ""


def open_operators(stream: Stream, engine: duckdb.DuckDBPyConnection) -> list[Opened]:
    """The steps with a memory in the order of the stream's steps."""
    keys = _Keys()
    opened = []
    for index, step in enumerate(stream.steps):
        if has_memory(step):
            key, definition = keys.of(_definition(stream.steps, index, step))
            opened.append(Opened(key, definition, _operator(definition, engine), index))
    return opened


def open_rollups(name: str, stream: Stream, engine: duckdb.DuckDBPyConnection) -> list[Opened]:
    """The rollups of the stream called `name`."""
    keys = _Keys()
    opened = []
    for rollup in stream.rollups:
        key, definition = keys.of(_Definition("rollup", rollup=rollup, stream=name))
        operator = _operator(definition, engine)
        opened.append(Opened(key, definition, operator, to=rollup.to, table=table_of(name, rollup)))
    return opened


def release(
    definition: bytes, pieces: Mapping[str, pa.Table], engine: duckdb.DuckDBPyConnection
) -> tuple[list[Flat], Rollup | None]:
    """What a step that is no more held when it was last saved: events, or with its settings the rows of a rollup."""
    operator = _operator(definition, engine)
    operator.restore(pieces)
    return operator.finish(), msgspec.json.decode(definition, type=_Definition).rollup


def _definition(steps: tuple[Step, ...], index: int, step: Step) -> _Definition:
    if isinstance(step, Window):
        return _Definition("window", window=step)
    assert isinstance(step, Sample)
    stage = sum(isinstance(earlier, Sample) for earlier in steps[:index])
    return _Definition("sample", sample=step, index=index, stage=stage)


def _operator(definition: bytes, engine: duckdb.DuckDBPyConnection) -> Operator:
    known = msgspec.json.decode(definition, type=_Definition)
    if known.window is not None:
        return open_window(known.window, engine)
    if known.sample is not None:
        return open_sampler(known.sample, known.index, known.stage, engine)
    assert known.rollup is not None
    return open_rollup(known.rollup, known.stream, engine)


class _Keys:
    """The same step twice has two keys."""

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()

    def of(self, definition: _Definition) -> tuple[str, bytes]:
        text = msgspec.json.encode(definition, order="deterministic")
        self._seen[text] += 1
        return f"{definition.kind}-{hashlib.sha256(text).hexdigest()[:16]}-{self._seen[text]}", text
