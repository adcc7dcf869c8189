"""Which faults come when: the same for the same seed. Pure: it knows names and no process.

Every kind of fault at every part of headrace and its surroundings is a card; the deck is shuffled and dealt out in
rounds of one to three faults that overlap, and shuffled again when it is empty, so a run of some minutes has had each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Fault:
    """`kind` is done to `target` in the manner `mode`, `after` seconds into its round, and taken back `hold` seconds later.

    `pick` chooses among several that would do: 0 <= pick < 1.
    """

    kind: str
    target: str
    mode: str
    after: float
    hold: float
    pick: float

    def __str__(self) -> str:
        manner = f" ({self.mode})" if self.mode else ""
        return f"{self.kind} {self.target}{manner} at {self.after:.1f} s for {self.hold:.1f} s"


CARDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "kill -9": (
        ("gateway", "gateway worker", "dataflow", "worker", "all workers", "Kafka", "S3", "OpenSearch"),
        ("",),
    ),
    "SIGSTOP": (("gateway", "dataflow", "worker", "Kafka", "S3", "OpenSearch"), ("",)),
    "zombie": (("worker",), ("",)),
    "network": (
        ("gateway-Kafka", "dataflow-Kafka", "dataflow-S3", "dataflow-OpenSearch", "dataflow-HTTP"),
        ("cut", "stall", "reset", "mute"),
    ),
    "destination": (("HTTP",), ("slow", "500", "429", "garbage", "hang up")),
    "disk full": (("data",), ("",)),
    "clock": (("gateway", "dataflow"), ("+40", "-40", "+5400", "-5400")),
    "processes": (("dataflow",), ("stop", "kill")),
    "configuration": (("dataflow",), ("",)),
}
"""By kind: its targets, and the manners of which one is drawn. A clock jumps by so many seconds."""


def rounds(seed: int, targets: Sequence[str], without: Sequence[str] = ()) -> Iterator[list[Fault]]:
    """Rounds without end; `targets` are the parts that are there, `without` the kinds that cannot be had."""
    dice = Random(seed)
    cards = [
        (kind, target) for kind, (at, _) in CARDS.items() if kind not in without for target in at if target in targets
    ]
    deck: list[tuple[str, str]] = []
    while True:
        dealt: list[tuple[str, str]] = []
        wanted = dice.choice((1, 2, 2, 3))
        while len(dealt) < wanted:
            if not deck:
                deck = dice.sample(cards, len(cards))
            fitting = [card for card in deck if not any(_same_part(card, other) for other in dealt)]
            if not fitting:
                break
            deck.remove(fitting[0])
            dealt.append(fitting[0])
        yield [_fault(dice, *card) for card in dealt]


def _same_part(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two faults would take each other back: those of one part's processes."""
    return _part(one[1]) == _part(other[1]) and "network" not in (one[0], other[0])


def _part(target: str) -> str:
    return {"worker": "dataflow", "all workers": "dataflow", "gateway worker": "gateway", "data": "dataflow"}.get(
        target, target
    )


def _fault(dice: Random, kind: str, target: str) -> Fault:
    mode = dice.choice(CARDS[kind][1])
    after, hold, pick = dice.uniform(0.0, 2.0), dice.uniform(1.0, 6.0), dice.random()
    return Fault(kind, target, mode, round(after, 2), round(hold, 2), pick)
