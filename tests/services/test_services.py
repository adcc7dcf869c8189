"""The servers the other tests lean on: they answer, and keep what they took through a kill."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from tests.services.kafka import KafkaBroker
from tests.services.process import ServerProcess
from tests.services.seaweedfs import SeaweedFS


def test_a_killed_broker_comes_back_with_what_it_acknowledged(own_kafka: KafkaBroker) -> None:
    admin = KafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    admin.create_topics([NewTopic("kept", 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=own_kafka.bootstrap)
    producer.send("kept", b"value").get(timeout=20)
    producer.close()
    own_kafka.restart()
    consumer = KafkaConsumer(bootstrap_servers=own_kafka.bootstrap)
    assert consumer.end_offsets([TopicPartition("kept", 0)]) == {TopicPartition("kept", 0): 1}
    consumer.close()


def test_a_killed_object_store_comes_back_with_what_it_took(own_s3: SeaweedFS) -> None:
    own_s3.make_bucket("kept")
    own_s3.client().put_object(Bucket="kept", Key="key", Body=b"value")
    own_s3.restart()
    assert own_s3.client().get_object(Bucket="kept", Key="key")["Body"].read() == b"value"


def test_the_object_store_refuses_a_wrong_key(s3: SeaweedFS) -> None:
    client = s3.client()
    client._request_signer._credentials.secret_key = "wrong"
    with pytest.raises(client.exceptions.ClientError, match="SignatureDoesNotMatch"):
        client.list_buckets()


def test_a_server_that_does_not_come_up_says_what_it_printed(tmp_path: Path) -> None:
    server = ServerProcess("Broken", ["sh", "-c", "echo no such option; exit 2"], tmp_path / "log", lambda: False)
    with pytest.raises(RuntimeError, match="no such option"):
        server.start(seconds=20)
