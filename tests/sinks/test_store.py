"""Tables in an object store: a real one keeps them, and one that cannot is refused before its first commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import ConfigError, Transient
from connectors.sinks.probe import prove_conditional_put
from connectors.sinks.settings import DeltaDestination
from connectors.values import Secret
from tests.conftest import had
from tests.services.process import free_ports
from tests.services.rclone import Rclone
from tests.services.seaweedfs import SeaweedFS
from tests.sinks.tables import STREAM, Dataflow, read_table


@pytest.fixture
def careless_store(tmp_path: Path) -> Iterator[Rclone]:
    """A store that overwrites what a conditional put must not touch."""
    server = had(lambda: Rclone(tmp_path / "rclone"))
    server.start()
    yield server
    server.kill()


def lake(server: SeaweedFS | Rclone, bucket: str, **changed: Any) -> DeltaDestination:
    fields = {
        "uri": f"s3://{bucket}/{{stream}}",
        "endpoint": server.endpoint,
        "region": "us-east-1",
        "access_key_id": server.access_key,
        "secret_access_key": Secret(server.secret_key),
    }
    return DeltaDestination(**{**fields, **changed})


def test_a_table_in_an_object_store_takes_each_event_once(s3: SeaweedFS) -> None:
    bucket = s3.make_bucket("store-once")
    events = [{"source": "s", "event": {"a": 1}}, {"source": "s", "event": {"a": 2.5, "b": "x"}}]
    sent = Dataflow(lake(s3, bucket)).take(events, offset=0)
    restarted = Dataflow(lake(s3, bucket))
    restarted.stage(events, offset=0)
    sent += restarted.take(events, offset=1)
    rows = read_table(f"s3://{bucket}/{STREAM}", s3.options)
    assert sorted(row["event_id"] for row in rows) == sorted(sent)
    left = [item["Key"] for item in s3.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert not [key for key in left if "probe" in key]


def test_a_store_that_ignores_conditional_puts_is_refused_before_anything_is_written(careless_store: Rclone) -> None:
    dataflow = Dataflow(lake(careless_store, "events"))
    with pytest.raises(ConfigError, match="If-None-Match") as refused:
        dataflow.stage([{"source": "s", "event": {"a": 1}}])
    assert "conditional puts" in refused.value.remedy


def test_wrong_credentials_are_named(s3: SeaweedFS) -> None:
    bucket = s3.make_bucket("store-credentials")
    with pytest.raises(ConfigError, match="refuses") as refused:
        prove_conditional_put(lake(s3, bucket, secret_access_key=Secret("not-the-secret")))
    assert "not-the-secret" not in str(refused.value)
    assert s3.secret_key not in str(refused.value)


def test_a_bucket_that_is_not_there_is_named(careless_store: Rclone) -> None:
    with pytest.raises(ConfigError, match="s3://store-nowhere does not exist"):
        prove_conditional_put(lake(careless_store, "store-nowhere"))


def test_a_store_that_is_down_is_tried_again() -> None:
    [port] = free_ports(1)
    settings = DeltaDestination(
        uri="s3://events/{stream}",
        endpoint=f"http://127.0.0.1:{port}",
        region="us-east-1",
        access_key_id="a",
        secret_access_key=Secret("b"),
    )
    with pytest.raises(Transient, match="cannot be reached"):
        prove_conditional_put(settings)
