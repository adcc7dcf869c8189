"""What the demo sends with curl, and the configuration that it runs on."""

from __future__ import annotations

PAYMENTS_ID = "a0c3b4de-1923-4ff1-8dba-f92ad912d20f"
EVENT = """\
{
  "timestamp": "2025-02-12T14:32:15Z",
  "source": "payments-app",
  "event": {
    "transactionId": "txn_30921",
    "status": "approved",
    "latency_ms": 182,
    "amount": 499,
    "currency": "USD"
  },
  "metadata": {
    "env": "prod",
    "team": "payments"
  }
}
"""

CURL = """\
curl -X POST "{url}/v1/streams/ingest" \\
  -H "Authorization: Bearer $TOKEN" \\
  -H "Content-Type: application/json" \\
  -H "X-Stream-Id: $STREAM_ID" \\
  -d @event.json"""

CONFIG = """\
# The demo's configuration, written anew by each run of `make demo`.
data: ./data

streams:
  payments:
    id: {payments}
    types: {{event.amount: "DECIMAL(18,2)"}}
    steps:
      - set:  {{event.large: event.amount >= 500}}
      - drop: [event.card, event.user.email]
  web:
    id: 5b1e7c1e-6d0e-4a5c-9d53-0a64a1a6f001
    steps:
      - filter: event.path IS DISTINCT FROM '/healthz'      # a fifth of the traffic, and nobody reads it
  app: {{id: 5b1e7c1e-6d0e-4a5c-9d53-0a64a1a6f002}}
  iot:
    id: 5b1e7c1e-6d0e-4a5c-9d53-0a64a1a6f003
    types: {{event.level_cm: BIGINT}}     # some gauges begin to send fractions: see `_rescued`
"""
