"""The gateway's metrics; `connectors.counting` sums them over its processes.

Labels are bounded by the configuration: names of streams, and the codes of the error table.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ACCEPTED = Counter("headrace_requests_accepted_total", "Requests answered with 200: the log has them.", ["stream"])
REJECTED = Counter("headrace_requests_rejected_total", "Requests answered with an error.", ["error"])
EVENTS = Counter("headrace_events_accepted_total", "Events in accepted requests.", ["stream"])
BYTES = Counter("headrace_bytes_accepted_total", "Decompressed bytes of accepted requests.", ["stream"])
APPEND_SECONDS = Histogram(
    "headrace_append_seconds",
    "How long the log took to acknowledge a request.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
CONFIG = Gauge(
    "headrace_config_info",
    "1 for the version of the configuration that the gateway has taken, 0 for those before it.",
    ["version"],
    multiprocess_mode="mostrecent",
)


class Accepted:
    """The counts of one stream's accepted requests, looked up once and not for each request."""

    def __init__(self, stream: str) -> None:
        self._requests = ACCEPTED.labels(stream)
        self._events = EVENTS.labels(stream)
        self._bytes = BYTES.labels(stream)

    def add(self, events: int, size: int, seconds: float) -> None:
        """One request of `events` events and `size` bytes, for whose acknowledgement the log took `seconds`."""
        APPEND_SECONDS.observe(seconds)
        self._requests.inc()
        self._events.inc(events)
        self._bytes.inc(size)
