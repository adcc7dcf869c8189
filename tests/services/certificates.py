"""Certificates for TLS servers of the tests: an authority, and what it signs. Made by `openssl`, good for a day."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.services.process import ServiceMissingError


class Authority:
    """An authority of its own in `directory`; `ca` is its certificate."""

    def __init__(self, directory: Path, name: str = "headrace tests") -> None:
        if shutil.which("openssl") is None:
            raise ServiceMissingError("certificates for TLS need `openssl`")
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.ca, self._key = directory / "ca.pem", directory / "ca.key"
        made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        _openssl(*made, "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.ca)

    def issue(self, name: str, *alternatives: str) -> tuple[Path, Path]:
        """(certificate, key) of `name`, valid for the alternative names (`DNS:localhost`, `IP:127.0.0.1`)."""
        request, extra = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        certificate, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        _openssl("req", "-new", *curve, "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extra.write_text(f"subjectAltName={','.join(alternatives or ('DNS:localhost', 'IP:127.0.0.1'))}\n")
        signed = ["x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial", "-days", "1"]
        _openssl(*signed, "-extfile", extra, "-out", certificate)
        return certificate, key


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
