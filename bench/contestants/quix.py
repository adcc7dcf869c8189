"""The pipeline in Quix Streams; zstd Parquet out. Arguments: BOOTSTRAP TOPIC OUT COUNT."""

import hashlib
import sys
import uuid

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from quixstreams import Application
from quixstreams.sinks.base import BatchingSink

BOOTSTRAP, TOPIC, OUT, _ = sys.argv[1:]


def mask(event):
    inner = event["event"]
    card = inner["card"]
    inner["card"] = "*" * (len(card) - 4) + card[-4:]
    inner["email"] = hashlib.sha256(inner["email"].encode()).hexdigest()
    return event


class Parquet(BatchingSink):
    def __init__(self, name):
        super().__init__()
        self._name = name
        self._written = 0

    def write(self, batch):
        rows = pa.Table.from_pylist([item.value for item in batch])
        self._written += 1
        pq.write_table(rows, f"{OUT}/{self._name}-{self._written}.parquet", compression="zstd", compression_level=1)


app = Application(
    BOOTSTRAP, consumer_group=uuid.uuid4().hex, auto_offset_reset="earliest", commit_every=20_000, loglevel="ERROR"
)
frame = app.dataframe(app.topic(TOPIC, value_deserializer="bytes"))
frame = frame.apply(lambda value: [orjson.loads(line) for line in value.split(b"\n")], expand=True)
frame = frame.filter(lambda event: event["event"]["status"] != "refunded")
frame = frame.apply(mask)
frame = frame.filter(lambda event: hashlib.sha256(event["event"]["user_id"].encode()).hexdigest()[0] < "8")
frame.filter(lambda event: event["event"]["amount"] > 1_000_000).sink(Parquet("large"))
frame.filter(lambda event: event["event"]["amount"] <= 1_000_000).sink(Parquet("lake"))
app.run(timeout=3.0, collect=False)  # a `count` would be of what comes out
