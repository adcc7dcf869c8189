"""Counters that any process can scrape or the gateway serves for all.

They are bounded by the configuration: labels are names of streams, destinations and steps.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

EVENTS_READ = Counter("headrace_events_read_total", "Events read from the log.", ["stream"])
EVENTS_DROPPED = Counter(
    "headrace_events_dropped_total", "Events that reach no destination.", ["stream", "step", "intentional"]
)
EVENTS_UNMATCHED = Counter(
    "headrace_events_unmatched_total", "Events that no route matched: they went to the default.", ["stream"]
)
EVENTS_REPEATED = Counter(
    "headrace_events_repeated_total", "Repeats of a request by its Idempotency-Key, left out.", ["stream"]
)
ROWS_COMMITTED = Counter("headrace_rows_committed_total", "Rows committed to a destination.", ["destination", "stream"])
VALUES_RESCUED = Counter("headrace_rows_rescued_total", "Rows with a value in `_rescued`.", ["destination", "stream"])
EVENTS_LATE = Counter("headrace_events_late_total", "Events that came too late for a window.", ["stream", "step"])
PARSE_FAILURES = Counter(
    "headrace_parse_failures_total", "Events whose text a parse step could not read.", ["stream", "step"]
)
ROWS_SENT_AGAIN = Counter(
    "headrace_rows_sent_again_total",
    "Rows sent once more because a broken connection may have lost them: duplicates, if it had not.",
    ["destination"],
)
ENRICHED = Counter(
    "headrace_enriched_total", "Events that an enrich step looked up: `hit` or `miss`.", ["stream", "step", "result"]
)
LOOKUP_RELOADS = Counter(
    "headrace_lookup_reloads_total", "Changed files of a lookup: `taken` or `refused`.", ["lookup", "result"]
)
LOOKUP_ROWS_IGNORED = Counter(
    "headrace_lookup_rows_ignored_total",
    "Rows of a lookup's file left out: `no_key`, `repeated_key`.",
    ["lookup", "reason"],
)
REQUESTS = Counter(
    "headrace_requests_total",
    "Requests to a destination: ok, unfinished (rows are sent again), failed, rejected.",
    ["destination", "outcome"],
)
REQUESTS_RETRIED = Counter("headrace_requests_retried_total", "Requests that are made again.", ["destination"])
REQUEST_SECONDS = Histogram(
    "headrace_request_seconds",
    "How long a destination takes to answer.",
    ["destination"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
ROWS_REFUSED = Counter(
    "headrace_rows_refused_total", "Rows that a destination will never take.", ["destination", "stream"]
)
DEAD_LETTERS = Counter("headrace_dead_letters_total", "Events set aside as dead letters.", ["stream", "stage"])
DESTINATION_CIRCUIT = Gauge(
    "headrace_destination_circuit",
    "0: a destination takes events; 1: it is tried again after a failure; 2: it has failed, and is left alone a while.",
    ["destination"],
    multiprocess_mode="livemax",
)
DESTINATION_FAILURES = Counter(
    "headrace_destination_failures_total", "Times that a destination failed and was set back.", ["destination"]
)
DESTINATION_HELD = Gauge(
    "headrace_destination_held_bytes",
    "Bytes in memory that a destination has not committed.",
    ["destination"],
    multiprocess_mode="livesum",
)
DESTINATION_BEHIND = Gauge(
    "headrace_destination_behind_records",
    "Records of the log that were read for other destinations and not yet for this one.",
    ["destination"],
    multiprocess_mode="livesum",
)
DESTINATION_UNCOMMITTED = Gauge(
    "headrace_destination_uncommitted_records",
    "Records of the log that were read for any destination and that this one has not committed.",
    ["destination"],
    multiprocess_mode="livesum",
)
COMMIT_LATENCY = Histogram(
    "headrace_commit_latency_seconds",
    "From the receipt of the first event of a batch by the gateway to its commit in a destination.",
    ["destination"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400),
)
LOG_LAG = Gauge(
    "headrace_log_lag_records",
    "Records of a partition of the log that not every destination has committed.",
    ["topic", "partition"],
    multiprocess_mode="livesum",
)
