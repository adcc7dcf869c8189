"""Real syslog servers, rsyslog and syslog-ng, out of Debian's packages. What they take is in `received()`, parsed."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from tests.services.certificates import Authority
from tests.services.debian import LIBRARIES, environment, unpacked
from tests.services.process import ServerProcess, ServiceMissingError, free_ports


class SyslogServer(ServerProcess):
    """Takes RFC 5424 over TCP and TLS. `authority` signs its certificate, for localhost and 127.0.0.1.

    With `client_certificates` it takes only clients that show one of the authority's.
    """

    def __init__(self, directory: Path, name: str, *, client_certificates: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(directory / "authority")
        self.certificate, self.key = self.authority.issue("server")
        self._tcp, self._tls = free_ports(2)
        self._output = directory / "received.ndjson"
        self._output.touch()
        self.asks_for_certificates = client_certificates
        super().__init__(name, self._command_of(directory), directory / "server.log", self._listens)

    @property
    def tcp(self) -> str:
        """The address without TLS."""
        return f"tcp://127.0.0.1:{self._tcp}"

    @property
    def tls(self) -> str:
        """The address with TLS."""
        return f"tls://localhost:{self._tls}"

    def received(self) -> list[dict[str, Any]]:
        """The messages so far, in order: `pri, timestamp, host, app, procid, msgid, sd, msg` as texts."""
        lines = self._output.read_bytes().split(b"\n")[:-1]  # the last one may be half written
        return [json.loads(line) for line in lines]

    def _command_of(self, directory: Path) -> list[str]:
        raise NotImplementedError

    def _listens(self) -> bool:
        for port in (self._tcp, self._tls):
            try:
                socket.create_connection(("127.0.0.1", port), 2).close()
            except OSError:
                return False
        return True


class Rsyslog(SyslogServer):
    """rsyslog, TLS by OpenSSL."""

    def __init__(self, directory: Path, **options: bool) -> None:
        super().__init__(directory, "rsyslog", **options)

    def _command_of(self, directory: Path) -> list[str]:
        root = unpacked("rsyslog", "rsyslog-openssl")
        modules = next((path for each in LIBRARIES if (path := root / each / "rsyslog").exists()), None)
        if modules is None:
            raise ServiceMissingError("rsyslog has no modules for this kind of machine")
        config = directory / "rsyslog.conf"
        config.write_text(self._config(directory))
        program = [str(root / "usr/sbin/rsyslogd"), "-n", "-f", str(config), "-i", str(directory / "pid")]
        variables = [f"LD_LIBRARY_PATH={environment(root)['LD_LIBRARY_PATH']}"]
        return ["env", *variables, *program, "-M", str(modules)]

    def _config(self, directory: Path) -> str:
        names = {
            **{"pri": "pri", "timestamp": "timereported", "host": "hostname", "app": "app-name", "procid": "procid"},
            **{"msgid": "msgid", "sd": "structured-data", "msg": "msg"},
        }
        properties = [
            f'property(outname="{name}" name="{of}" format="jsonf"{_RFC3339 if of == "timereported" else ""})'
            for name, of in names.items()
        ]
        listed = ' constant(value=",") '.join(properties)
        mode = "x509/certvalid" if self.asks_for_certificates else "anon"
        return f"""
global(workDirectory="{directory}" parser.escapeControlCharactersOnReceive="off"
       defaultNetstreamDriverCAFile="{self.authority.ca}"
       defaultNetstreamDriverCertFile="{self.certificate}" defaultNetstreamDriverKeyFile="{self.key}")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="{self._tcp}")
input(type="imtcp" address="127.0.0.1" port="{self._tls}" streamDriver.name="ossl" streamDriver.mode="1"
      streamDriver.authMode="{mode}")
template(name="all" type="list") {{ constant(value="{{") {listed} constant(value="}}\\n") }}
action(type="omfile" file="{self._output}" template="all")
"""


class SyslogNg(SyslogServer):
    """syslog-ng."""

    def __init__(self, directory: Path, **options: bool) -> None:
        super().__init__(directory, "syslog-ng", **options)

    def _command_of(self, directory: Path) -> list[str]:
        root = unpacked("syslog-ng-core")
        config = directory / "syslog-ng.conf"
        config.write_text(self._config())
        modules = sorted((root / "usr/lib/syslog-ng").glob("*/libsyslogformat.so"))
        if not modules:
            raise ServiceMissingError("syslog-ng has no modules for this kind of machine")
        libraries = environment(root, "usr/lib/syslog-ng")["LD_LIBRARY_PATH"]
        files = {"-R": "persist", "-p": "pid", "-c": "control"}
        placed = [word for flag, name in files.items() for word in (flag, str(directory / name))]
        program = [str(root / "usr/sbin/syslog-ng"), "-F", "--no-caps", "-f", str(config), *placed]
        return ["env", f"LD_LIBRARY_PATH={libraries}", *program, f"--module-path={modules[0].parent}"]

    def _config(self) -> str:
        names = {
            **{"pri": "$PRI", "timestamp": "$ISODATE", "host": "$HOST", "app": "$PROGRAM", "procid": "$PID"},
            **{"msgid": "$MSGID", "sd": "$SDATA", "msg": "$MSG"},
        }
        pairs = " ".join(f"{name}={of}" for name, of in names.items())
        verify = "required-trusted" if self.asks_for_certificates else "optional-untrusted"
        return f"""@version: 3.35
options {{ keep-hostname(yes); frac-digits(6); time-zone("UTC"); create-dirs(yes); stats-freq(0); log-msg-size(65536); }};
source s {{
  syslog(ip("127.0.0.1") port({self._tcp}) transport("tcp") max-connections(100));
  syslog(ip("127.0.0.1") port({self._tls}) transport("tls") max-connections(100)
         tls(key-file("{self.key}") cert-file("{self.certificate}") ca-file("{self.authority.ca}") peer-verify({verify})));
}};
destination d {{ file("{self._output}" template("$(format-json {pairs})\\n")); }};
log {{ source(s); destination(d); flags(flow-control); }};
"""


_RFC3339 = ' dateFormat="rfc3339"'
