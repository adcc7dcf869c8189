"""The pipeline in Bytewax, event by event, with orjson; zstd Parquet out. Arguments: BOOTSTRAP TOPIC OUT COUNT."""

import hashlib
import sys

import bytewax.operators as op
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.run import cli_main

BOOTSTRAP, TOPIC, OUT, _ = sys.argv[1:]
BATCH = 20_000


def mask(event):
    inner = event["event"]
    card = inner["card"]
    inner["card"] = "*" * (len(card) - 4) + card[-4:]
    inner["email"] = hashlib.sha256(inner["email"].encode()).hexdigest()
    return event


def kept(event):
    return hashlib.sha256(event["event"]["user_id"].encode()).hexdigest()[0] < "8"


class Parquet(StatelessSinkPartition):
    def __init__(self, path):
        self._path = path
        self._waiting = []
        self._file = None

    def write_batch(self, items):
        self._waiting += items
        if len(self._waiting) >= BATCH:
            self._write()

    def _write(self):
        if self._waiting:
            rows = pa.Table.from_pylist(self._waiting)
            self._waiting = []
            if self._file is None:
                self._file = pq.ParquetWriter(self._path, rows.schema, compression="zstd", compression_level=1)
            self._file.write_table(rows)

    def close(self):
        self._write()
        if self._file is not None:
            self._file.close()


class Sink(DynamicSink):
    def __init__(self, name):
        self._name = name

    def build(self, step_id, worker_index, worker_count):  # noqa: ARG002 # as Bytewax calls it
        return Parquet(f"{OUT}/{self._name}.parquet")


flow = Dataflow("payments")
read = op.input("read", flow, KafkaSource([BOOTSTRAP], [TOPIC], tail=False, batch_size=10_000))
events = op.flat_map("parse", read, lambda message: map(orjson.loads, message.value.split(b"\n")))
good = op.filter("filter", events, lambda event: event["event"]["status"] != "refunded")
masked = op.map("mask", good, mask)
sampled = op.filter("sample", masked, kept)
routed = op.branch("route", sampled, lambda event: event["event"]["amount"] > 1_000_000)
op.output("large", routed.trues, Sink("large"))
op.output("lake", routed.falses, Sink("lake"))
cli_main(flow)
