"""What a command imports before it does anything: on any machine, that is most of how long it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ENGINES = {
    *("pyarrow", "duckdb", "numpy", "pandas", "deltalake", "bytewax", "kafka", "regex", "maxminddb", "s3fs"),
    *("flask", "granian", "urllib3", "requests", "prometheus_client", "structlog", "rich"),
}
"""What moves and looks at events: no command needs it to read a configuration or to answer from a small file."""

_CONFIG = """\
destinations:
  lake: {type: delta, uri: "./lake/{stream}"}
  search: {type: elasticsearch, url: "http://localhost:9200", index: "logs-{stream}-{event.app}"}
  siem: {type: splunk_hec, url: "https://siem:8088", token: a-token, host: "{event.host}"}
  hook: {type: http, url: "https://hooks/{stream}", body: {text: "{event.text}"}}
  topic: {type: kafka, bootstrap_servers: "localhost:9092", topic: "clean.{stream}"}
  desk: {type: syslog, address: "tcp://localhost:6514"}
  out: {type: stdout}
streams:
  payments:
    id: a0c3b4de-1923-4ff1-8dba-f92ad912d20f
    steps:
      - drop: [event.debug]
      - mask: {event.card: last4}
    routes:
      - {to: [lake, search, siem, hook, topic, desk, out]}
"""

_RUN = """\
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
from headrace.__main__ import main
sys.argv[0] = "headrace"
main()
"""


def imported(code: str, *arguments: str, cwd: Path) -> set[str]:
    """The modules that Python has by the end of `code`, which says them on stderr as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "headrace.yaml").write_text(_CONFIG)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "at_most"),
    [
        ("--help", 300),
        ("up --help", 350),
        ("version", 350),
        ("check", 500),
        ("init elsewhere", 500),
        ("token list", 500),
        ("token create --stream payments", 500),
    ],
)
def test_a_command_that_moves_no_event_imports_no_engine(home: Path, command: str, at_most: int) -> None:
    """Arrow, DuckDB, the clients of destinations: a second and more, for what the command does not do."""
    modules = imported(_RUN, *command.split(), cwd=home)
    assert not modules & ENGINES
    assert len(modules) <= at_most


@pytest.mark.parametrize("module", ["flows.run", "headrace.supervisor", "headrace.commands.serving"])
def test_what_starts_the_processes_imports_none_of_what_they_need(home: Path, module: str) -> None:
    """They begin only after it: what it imports first, they wait for."""
    modules = imported(f"import {module}, sys, json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)", cwd=home)
    assert not modules & ENGINES


def test_a_dataflow_process_imports_no_client_of_a_destination_that_it_has_not(home: Path) -> None:
    """kafka-python alone takes a quarter of a second."""
    code = "import flows.worker, sys, json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    modules = imported(code, cwd=home)
    assert {"bytewax", "duckdb", "pyarrow"} <= modules
    assert not modules & {"kafka", "urllib3", "requests", "flask", "granian", "pandas", "rich", "structlog"}


def test_an_interrupt_while_it_imports_ends_a_command_quietly(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'headrace.commands':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from headrace.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_a_line_of_the_log_brings_structlog_but_not_rich(home: Path) -> None:
    """It would draw stack traces; ours are text."""
    code = (
        "import sys, json\n"
        "from connectors.logger import configure_logging, get_logger\n"
        "configure_logging(process=0)\n"
        "get_logger().info('a line', events=3)\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    modules = imported(code, cwd=home)
    assert "structlog" in modules
    assert "rich" not in modules
