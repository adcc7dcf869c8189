"""What `compose.yaml` and `deploy/` say is what headrace takes: no container engine is needed to see that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable

from connectors.log import open_log
from flows.config import load
from tests.flows.pipelines import append
from tests.services.kafka import KafkaBroker
from tests.services.seaweedfs import SeaweedFS

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "deploy" / "headrace.yaml"


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return found


@pytest.mark.parametrize("name", [name for name, service in services().items() if service["image"] == "headrace"])
def test_a_service_is_a_command_of_headrace_with_options_that_it_has(name: str) -> None:
    command, *options = services()[name]["command"]
    told = subprocess.run(
        [sys.executable, "-m", "headrace", command, "--help"], capture_output=True, text=True, check=True
    )
    assert all(option in told.stdout for option in options if option.startswith("--"))


def test_the_image_is_made_of_what_is_there() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    let_in = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    assert {"gateway", "flows", "connectors", "headrace", "requirements.lock"} <= set(copied)
    assert all((ROOT / name).exists() and f"!{name}" in let_in for name in copied)


def test_the_configuration_of_compose_brings_events_from_kafka_to_s3(
    tmp_path: Path, own_kafka: KafkaBroker, own_s3: SeaweedFS
) -> None:
    environment = {
        "KAFKA": own_kafka.bootstrap,
        "S3_ENDPOINT": own_s3.endpoint,
        "S3_ACCESS_KEY_ID": own_s3.access_key,
        "S3_SECRET_ACCESS_KEY": own_s3.secret_key,
        "DATA": str(tmp_path / "data"),
    }
    own_s3.make_bucket("headrace")
    config = load(CONFIG, environment)
    log = open_log(config.log)
    expected = append(log, [{"source": "a", "event": {"n": n}} for n in range(3)], stream=config.streams["events"].id)
    log.close()
    command = [sys.executable, "-m", "headrace", "run", "--drain", "-c", str(CONFIG)]
    subprocess.run(command, env=os.environ | environment, check=True, timeout=120)
    table = DeltaTable("s3://headrace/events", storage_options=own_s3.options)
    assert sorted(table.to_pyarrow_table().column("event_id").to_pylist()) == sorted(expected)
