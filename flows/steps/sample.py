"""`sample`: keeps a share of the events and notes the share in `_sample_rate`.

Here is what needs no memory: `rate`, which keeps or drops all events of a key together.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from flows.columns import EVENT_ID, SAMPLE_RATE, column, literal
from flows.expression import compile_expression
from flows.expression.values import Value, as_text
from flows.steps.layer import DROP, Layer

_BITS = 52  # of the hash: what a DOUBLE holds exactly


PerSecond = Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000_000)]
"""Events a second; 0.001 is one in a thousand seconds, which is how long an event may then wait for its rate."""


class Per(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At most `events_per_second` of each key; without `key` of all events, and those whose key is NULL are one key."""

    events_per_second: PerSecond
    key: str | None = None


class Dynamic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """About `target_per_second` events in all, shared out among the keys; a NULL key is a key like any other."""

    target_per_second: PerSecond
    key: str


class Sample(msgspec.Struct, frozen=True):
    """Keeps a share of the events, and drops the others, counted as intended. One of `rate`, `per` and `dynamic`.

    `rate` keeps the events of a share of all keys. The key's text is hashed (SHA-256), so a key is kept or dropped
    whole, in every batch and replay, and what a lower rate keeps a higher one keeps too. Without `key`, and where it is
    NULL, an event stands for itself (`event_id`). Events for which `keep` is true are always kept. `_sample_rate` of a
    kept event is multiplied by `rate`, by 1 where `keep` took it: `sum(1/_sample_rate)` estimates how many events there
    were. A second `sample` of a pipeline draws anew, or the rates would not multiply.

    `per` and `dynamic` choose among the events of a second by how many there were: see `flows.stateful.sampler`.

        steps:
          - sample: {rate: 0.1, key: event.transaction_id, keep: event.status = 'declined'}
          - sample: {per: {key: event.user_id, events_per_second: 5}}
          - sample: {dynamic: {key: event.path, target_per_second: 200}}
    """

    rate: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    key: str | None = None
    keep: str | None = None
    per: Per | None = None
    dynamic: Dynamic | None = None

    @property
    def has_memory(self) -> bool:
        """Whether what becomes of an event depends on others."""
        return self.per is not None or self.dynamic is not None


def compile_sample(step: Sample, index: int, stage: int, layer: Layer) -> Layer:
    """Two layers: what decides, then the mark of the dropped rows (`index`) and the rate of the kept.

    `stage` counts the `sample` steps before this one: it goes into the hash, so that stages are independent.
    """
    assert step.rate is not None, "a sample with a memory is no layer of a query"
    warnings = list(layer.warnings)
    draw = column(EVENT_ID)
    if step.key is not None:
        key = compile_expression(step.key, layer.columns)
        if key.warning:
            warnings.append(key.warning)
        draw = f"coalesce(CAST({as_text(Value(key.sql, key.type)).sql} AS VARCHAR), {draw})"
    keep = "false"
    if step.keep is not None:
        condition = compile_expression(step.keep, layer.columns, condition=True)
        keep = f"coalesce({condition.sql}, false)"
        if condition.warning:
            warnings.append(condition.warning)
    threshold = round(step.rate * 2**_BITS)
    # As `draw_of` a number: hexadecimal digits of one length are in the order of what they say.
    drawn = f"{_hashed(draw, stage)} < '{threshold:0{_BITS // 4}x}'" if threshold < 2**_BITS else "true"
    fate = [DROP] if layer.drops else []
    below = layer.select([*layer.carried(), *fate, f'{keep} AS "_keep"', f'{drawn} AS "_drawn"'])
    dropped = f'CASE WHEN "_keep" OR "_drawn" THEN NULL ELSE CAST({index} AS SMALLINT) END'
    mark = f"CASE WHEN {DROP} IS NULL THEN {dropped} ELSE {DROP} END" if layer.drops else dropped
    rate = column(SAMPLE_RATE)
    above = below.select(
        [
            *layer.carried(without=frozenset({SAMPLE_RATE})),
            f'CASE WHEN "_keep" THEN {rate} ELSE {rate} * {step.rate!r}::DOUBLE END AS {rate}',
            f"{mark} AS {DROP}",
        ]
    )
    return msgspec.structs.replace(above, drops=True, warnings=tuple(warnings))


def draw_of(text: str, stage: int) -> str:
    """SQL of where the SQL text `text` falls, a whole number below 2^52, evenly; each `stage` of a pipeline draws anew."""
    return f"CAST('0x' || left({_hashed(text, stage)}, {_BITS // 4}) AS BIGINT)"


def _hashed(text: str, stage: int) -> str:
    drawn = f"{literal(f'sample {stage}:')} || {text}" if stage else text
    return f"sha256({drawn})"
