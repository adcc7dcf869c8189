"""Ends a producer of kafka-python at once, with all that it holds."""

from __future__ import annotations

from contextlib import suppress

from kafka import KafkaProducer
from kafka.errors import KafkaError

_PATIENCE = 5.0  # seconds for its thread to leave off what it is doing


def abandon(producer: KafkaProducer) -> None:
    """What the producer has not sent by now it never will; what waits for it fails. Returns within seconds.

    `close(timeout=0)` alone does not do it where something is under way: it gives up before it has told the thread that
    sends, which then goes on (kafka-python 3.0.12).
    """
    sender = producer._sender
    sender.force_close()
    sender.join(_PATIENCE)
    with suppress(KafkaError):
        producer.close(timeout=0)
