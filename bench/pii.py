"""How often the mask `pii` is right: recall and precision by kind, over generated sentences.

python -m bench.pii
"""

from __future__ import annotations

import random
import re
import uuid
from collections import Counter
from collections.abc import Callable

from flows.steps.mask.pii import is_card, mask_pii


def main() -> None:
    print("| `pii` | of what there was, found | of what was found, right |\n|---|---|---|")
    for kind, (recall, precision) in accuracy().items():
        print(f"| {kind} | {recall:.1%} | {precision:.1%} |")


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
