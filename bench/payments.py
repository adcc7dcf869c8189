"""The events that everything whole is measured with: card payments of some 260 bytes, the same each time."""

from __future__ import annotations

import random
from collections.abc import Iterator


def lines(count: int, *, seed: int = 1) -> Iterator[bytes]:
    """`count` events as JSON, a line each: 5,000 users, 3% refunds."""
    draw = random.Random(seed)
    for number in range(count):
        status = draw.choices(("approved", "declined", "refunded"), (88, 9, 3))[0]
        yield (
            f'{{"timestamp":"2025-02-12T09:{number // 60_000 % 60:02d}:{number // 1000 % 60:02d}.{number % 1000:03d}Z",'
            f'"source":"payments-app","event":{{"transaction_id":"txn_{number:08d}","status":"{status}",'
            f'"latency_ms":{int(draw.lognormvariate(5, 0.5))},"amount":{draw.lognormvariate(3.6, 1.1):.2f},'
            f'"currency":"USD","card":"{draw.randrange(4 * 10**15, 5 * 10**15)}","user_id":"u{draw.randrange(5000)}",'
            f'"email":"user{draw.randrange(5000)}@example.com"}},"metadata":{{"env":"prod"}}}}'
        ).encode()
