"""What each kind of `mask` costs, and `sample`: events/s of one core; and how often `pii` is right.

python -m bench.mask            # some 30 s; --rows N for another number of events
"""

from __future__ import annotations

import argparse
import random
import re
import uuid
from collections import Counter
from collections.abc import Callable

import pyarrow as pa

from bench.parse import best_of
from flows.config import Stream
from flows.engine import open_engine
from flows.processor import StreamProcessor, open_pipeline_engine
from flows.steps import Mask, Sample, Step
from flows.steps.mask.pii import is_card, mask_pii
from tests.steps.parsing import lines_of

CARD, ADDRESS = "41111111111{0:05d}", "203.0.{1}.{1}"
PLAIN = "GET /a/{0} took {1}ms by worker {1}, all is well"
PERSONAL = "jane{0}@example.com paid with 4111 1111 1111 1111 from 203.0.{1}.7"
HALF = f"CASE WHEN m LIKE '%x%' THEN NULL ELSE CAST('0x' || left(sha256(m), 13) AS BIGINT) < {2**51} END"
CASES: dict[str, tuple[Step, str, str | None]] = {
    "redact": (Mask({"event.m": "redact"}), CARD, "CASE WHEN m IS NOT NULL THEN '[redacted]' END"),
    "last4": (Mask({"event.m": "last4"}), CARD, "repeat('*', length(m) - 4) || right(m, 4)"),
    "hash": (Mask({"event.m": "hash"}), CARD, "sha256(m)"),
    "hmac": (Mask({"event.m": "hmac"}), CARD, "sha256(unhex(sha256(m)))"),
    "ip24": (Mask({"event.m": "ip24"}), ADDRESS, "regexp_replace(m, '[0-9]+$', '0')"),
    "null": (Mask({"event.m": "null"}), CARD, None),
    "pii, texts without any": (Mask({"event.m": "pii"}), PLAIN, "regexp_matches(m, '@|[0-9]{7}')"),
    "pii, three findings in each": (Mask({"event.m": "pii"}), PERSONAL, None),
    "sample by key": (Sample(0.5, "event.m"), CARD, HALF),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    rows = parser.parse_args().rows
    print("| | step alone | whole pipeline | bare DuckDB |\n|---|---|---|---|")
    for name, (step, text, sql) in CASES.items():
        texts = [text.format(number, number % 250) for number in range(rows)]
        lines = lines_of([{"source": "s", "event": {"m": one}} for one in texts])
        without, whole = (_seconds(steps, lines) for steps in ((), (step,)))
        bare = "—"
        if sql is not None:
            with open_engine() as engine:
                engine.register("t", pa.table({"m": texts}))
                query = f"SELECT {sql} AS v FROM t"
                seconds = best_of(3, lambda engine=engine, query=query: engine.sql(query).to_arrow_table())  # type: ignore[misc]
                bare = f"{rows / seconds:,.0f}"
        added = whole - without
        alone = f"{rows / added:,.0f}" if added > 0.02 * whole else "too little to measure"
        print(f"| `{name}` | {alone} | {rows / whole:,.0f} | {bare} |")
    print("\n| `pii` | of what there was, found | of what was found, right |\n|---|---|---|")
    for kind, (recall, precision) in accuracy().items():
        print(f"| {kind} | {recall:.1%} | {precision:.1%} |")


def _seconds(steps: tuple[Step, ...], lines: object) -> float:
    processor = StreamProcessor("s", Stream(id="x", steps=steps, mask_key="k"), "lake", open_pipeline_engine())  # type: ignore[arg-type]
    return best_of(3, lambda: processor.process(lines))  # type: ignore[arg-type]


def accuracy(count: int = 3_000) -> dict[str, tuple[float, float]]:
    """(recall, precision) by kind over generated sentences, one value in each: half of them decoys."""
    pick = random.Random(1)
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for _ in range(count):
        for kind, make in (*REAL.items(), *((None, decoy) for decoy in DECOYS)):
            masked = mask_pii(pick.choice(FRAMES).format(make(pick)))
            said = re.findall(r"\[(email|phone|ip|iban|card|ssn|jwt|key)\]", masked)
            found.update(said)
            if kind is not None and kind in said:
                right[kind] += 1
    return {kind: (right[kind] / count, right[kind] / max(found[kind], 1)) for kind in REAL}


FRAMES = ("{}", "user said: {}.", "a={} b=2", '{{"v":"{}","n":1}}', "<{}>", "retry of {}, then done", "x;{};y")


def _digits(pick: random.Random, count: int) -> str:
    return "".join(pick.choice("0123456789") for _ in range(count))


def _word(pick: random.Random, count: int, letters: str = "abcdefghijklmnopqrstuvwxyz") -> str:
    return "".join(pick.choice(letters) for _ in range(count))


def _card(pick: random.Random) -> str:
    while True:
        digits = pick.choice(["4", "51", "2221", "6011", "35"]) + _digits(pick, 15)
        if is_card(digits[:16]):
            return pick.choice(["", " ", "-"]).join(re.findall("....", digits[:16]))


def _iban(pick: random.Random) -> str:
    body = _digits(pick, 18)
    check = 98 - int(body + "131400") % 97
    text = f"DE{check:02d}{body}"
    return text if pick.random() < 0.5 else " ".join(re.findall(".{1,4}", text))


def _phone(pick: random.Random) -> str:
    area, office = f"{pick.randint(201, 989)}", f"{pick.randint(200, 999)}"
    form = pick.choice(["({}) {}-{}", "{}-{}-{}", "+1{}{}{}", "+1 {} {} {}", "{}.{}.{}", "+49 {} {}{}"])
    return form.format(area, office, _digits(pick, 4))


BASE64 = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
REAL: dict[str, Callable[[random.Random], str]] = {
    "email": lambda p: f"{_word(p, 5)}.{_word(p, 6)}@{_word(p, 7)}.{p.choice(['com', 'co.uk', 'de', 'io'])}",
    "phone": _phone,
    "ip": lambda p: p.choice(
        [".".join(str(p.randint(0, 255)) for _ in "1234"), f"2001:db8:{p.randint(1, 65535):x}::{p.randint(1, 65535):x}"]
    ),
    "iban": _iban,
    "card": _card,
    "ssn": lambda p: f"{p.randint(1, 665):03d}-{p.randint(1, 99):02d}-{p.randint(1, 9999):04d}",
    "jwt": lambda p: f"eyJ{_word(p, 30, BASE64)}.{_word(p, 60, BASE64)}.{_word(p, 43, BASE64)}",
    "key": lambda p: p.choice(["AKIA" + _word(p, 16, "ABCDEFGHIJ234567"), "ghp_" + _word(p, 36, BASE64)]),
}
DECOYS: tuple[Callable[[random.Random], str], ...] = (
    lambda p: (
        f"2024-0{p.randint(1, 9)}-1{p.randint(0, 9)}T{p.randint(10, 23)}:{p.randint(10, 59)}:{p.randint(10, 59)}.{_digits(p, 6)}Z"
    ),
    lambda p: f"order {p.randint(1, 9)}{_digits(p, 9)}",
    lambda p: f"id {p.randint(1, 9)}{_digits(p, 15)}",
    lambda p: f"{p.randint(1, 30)}.{p.randint(0, 99)}.{p.randint(0, 999)}",
    lambda p: str(uuid.UUID(int=p.getrandbits(128))),
    lambda p: f"{p.getrandbits(160):040x}",
    lambda p: f"17{_digits(p, 11)}",
    lambda p: f"{p.random():.16f}",
    lambda p: f"{_digits(p, 3)} {_digits(p, 4)} {_digits(p, 5)} ms",
    lambda p: ":".join(f"{p.getrandbits(8):02x}" for _ in range(6)),
    lambda p: f"{_word(p, 8)}@{_word(p, 6)}",
    lambda p: f"SKU-{_digits(p, 4)}-{_digits(p, 4)}-{_digits(p, 3)}",
    lambda p: f"{_word(p, 2, 'ABCDEFGHIJ')}{_digits(p, 20)}",
)

if __name__ == "__main__":
    main()
