"""The pipeline in Pathway; NDJSON out, since its Delta tables want a licence key. Arguments: BOOTSTRAP TOPIC OUT COUNT."""

import hashlib
import sys
import uuid

import pathway as pw

BOOTSTRAP, TOPIC, OUT, _ = sys.argv[1:]


INNER = {"transaction_id": str, "status": str, "latency_ms": int, "amount": float, "currency": str, "card": str}
INNER |= {"user_id": str, "email": str}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def last4(card: str) -> str:
    return "*" * (len(card) - 4) + card[-4:]


def kept(user: str) -> bool:
    return digest(user)[0] < "8"


def parsed_json(line: str) -> pw.Json:
    return pw.Json.parse(line)


def lines(text: str) -> list[str]:
    return text.split("\n")


messages = pw.io.kafka.read(
    {"bootstrap.servers": BOOTSTRAP, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"},
    topic=TOPIC,
    mode="static",
    format="plaintext",
)
parsed = (
    messages.select(line=pw.apply(lines, pw.this.data))
    .flatten(pw.this.line)
    .select(json=pw.apply(parsed_json, pw.this.line))
)
GET = {str: "as_str", int: "as_int", float: "as_float"}
events = parsed.select(
    timestamp=pw.this.json["timestamp"].as_str(unwrap=True),
    source=pw.this.json["source"].as_str(unwrap=True),
    env=pw.this.json["metadata"]["env"].as_str(unwrap=True),
    **{name: getattr(pw.this.json["event"][name], GET[kind])(unwrap=True) for name, kind in INNER.items()},
)
good = events.filter(pw.this.status != "refunded")
masked = good.with_columns(card=pw.apply(last4, pw.this.card), email=pw.apply(digest, pw.this.email))
sampled = masked.filter(pw.apply(kept, pw.this.user_id))
pw.io.jsonlines.write(sampled.filter(pw.this.amount > 1_000_000), f"{OUT}/large.ndjson")
pw.io.jsonlines.write(sampled.filter(pw.this.amount <= 1_000_000), f"{OUT}/lake.ndjson")
pw.run(monitoring_level=pw.MonitoringLevel.NONE)
