"""One torture from beginning to end: everything starts, is harmed and healed, drains, and is judged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.services.opensearch import OpenSearch
from tests.torture import evidence, judge, report
from tests.torture.clients import Client, Ledger
from tests.torture.faults import play
from tests.torture.judge import Findings
from tests.torture.parts import GROUP, Parts
from tests.torture.schedule import Fault, rounds
from tests.torture.settings import STREAMS

_CLIENTS = 4
_CATCH_UP = 240.0  # seconds after a round's last fault; what takes longer is stuck
_DRAIN = 300  # seconds


def run(directory: Path, *, minutes: float, seed: int, local: bool) -> bool:
    """Whether all promises held."""
    began = time.monotonic()
    parts = Parts(directory, local=local)
    say(f"seed {seed}, {minutes:g} minutes, everything in {directory}")
    token = parts.start()
    ledger = Ledger()
    record = directory / "acknowledged.ndjson"
    clients = [Client(f"c{n}", parts.url, token, seed, ledger, record) for n in range(_CLIENTS)]
    for client in clients:
        client.start()
    say(f"all parts run after {time.monotonic() - began:.0f} s")
    found = Findings()
    done: list[tuple[Sequence[Fault], float]] = []
    end = time.monotonic() + minutes * 60
    for faults in rounds(seed, parts.targets(), list(parts.without)):
        if time.monotonic() >= end:
            break
        say("; ".join(map(str, faults)))
        harmed = play(parts, faults)
        seconds = _recovery(parts, clients)
        if seconds is None:
            found.wrong.append(f"stuck: after {'; '.join(map(str, faults))}, for {_CATCH_UP:.0f} s")
            break
        done.append((harmed, seconds))
        say(f"  caught up after {seconds:.1f} s; {len(ledger.acknowledged):,} events acknowledged")
    late = _finish(parts, clients, ledger, found)
    print()
    print(report.table(done, parts.without))
    for part in (parts.gateway, parts.dataflow):
        if part.ended:
            codes = ", ".join(f"{times} times with code {code}" for code, times in sorted(part.ended.items()))
            print(f"the {part.name} ended by itself {codes} and was started again")
    print(report.totals(ledger, found, late), flush=True)
    for line in found.lines():
        print(line, flush=True)
    if found:  # the disk of its own goes with this process
        shutil.copytree(parts.data, directory / "data-kept", ignore_dangling_symlinks=True, dirs_exist_ok=True)
    return not found


def say(text: str) -> None:
    print(f"{time.strftime('%T')} {text}", flush=True)


def _recovery(parts: Parts, clients: Sequence[Client]) -> float | None:
    """Seconds until every client is served and what the log has then is safe everywhere; None where that takes too long."""
    began = time.monotonic()
    if not parts.wait(parts.is_ready, _CATCH_UP, "a gateway that is ready"):
        return None
    before = [client.acknowledged for client in clients]

    def served() -> bool:
        return all(client.acknowledged > count for client, count in zip(clients, before, strict=True))

    if not parts.wait(served, _CATCH_UP - (time.monotonic() - began), "an acknowledgement for every client"):
        return None
    _, log = parts.config()
    with closing(log):
        reader = log.reader(range(log.partitions), {}, group="torture-ends")
        with closing(reader):
            ends = reader.end_offsets()

        def caught_up() -> bool:
            committed = log.committed(GROUP)
            return all(committed.get(partition, 0) >= offset for partition, offset in ends.items())

        left = _CATCH_UP - (time.monotonic() - began)
        return time.monotonic() - began if parts.wait(caught_up, left, "what the log held", every=0.5) else None


def _finish(parts: Parts, clients: Sequence[Client], ledger: Ledger, found: Findings) -> int:
    """Ends the load, drains, and judges; how many events were late for their window."""
    for client in clients:
        client.finish()
    for client in clients:
        parts.wait(lambda client=client: client.join(0.1), 90, f"the last acknowledgement of {client.name}")
        if not client.join(0):
            found.wrong.append(f"{client.name} could not get its last request acknowledged")
    found.wrong += [f"the gateway refused a request: {text}" for text in ledger.refused]
    for part in (parts.gateway, parts.dataflow):
        if (code := part.stop(60)) not in (0, None):
            found.wrong.append(f"the {part.name} ended with {code} when it was asked to stop")
        elif code is None:
            found.wrong.append(f"the {part.name} did not stop within 60 s")
    say("draining")
    if not _drain(parts):
        found.lost.append("the dataflow could not be drained; what follows may be for that alone")
    say("judging")
    return _judge(parts, ledger, found)


def _drain(parts: Parts) -> bool:
    with (parts.directory / "drain.log").open("ab") as output:
        command = [sys.executable, "-m", "headrace", "run", "--drain", "--processes", "2", "-c", str(parts.path)]
        try:
            done = subprocess.run(command, stdout=output, stderr=output, timeout=_DRAIN, check=False)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


def _judge(parts: Parts, ledger: Ledger, found: Findings) -> int:
    config, log = parts.config()
    with closing(log):
        logged = evidence.read_log(log)
    judge.log_holds(ledger.acknowledged, logged, found)
    letters = evidence.letters(config)
    node = parts.servers.get("OpenSearch")
    late = 0
    for stream in STREAMS:
        aside: dict[str, list[str]] = {}
        for letter in letters:
            if letter["stream"] == stream:
                for name in [letter["destination"]] if letter["destination"] else ["lake", "search", "hook"]:
                    aside.setdefault(name, []).append(letter["event_id"])
        rows = evidence.table(config, stream, "*")
        ids = [row["event_id"] for row in rows]
        judge.arrived(stream, "lake", ids, aside.get("lake", []), logged, found, once=True)
        if stream == "windowed":
            late = judge.windows(rows, found)
        else:
            judge.in_order(stream, "lake", evidence.written(config, stream, logged.places), logged.places, found)
        if stream == "masked":
            judge.hidden("lake", (json.dumps(row, default=str) for row in rows), found)
        if isinstance(node, OpenSearch):
            documents = evidence.documents(node, stream)
            ids = [document["event_id"] for document in documents]
            judge.arrived(stream, "search", ids, aside.get("search", []), logged, found, once=True)
            if stream != "windowed":
                once = evidence.written_once(documents)
                judge.in_order(stream, "search", once, logged.places, found)
                say(f"{stream} in OpenSearch: the order of {len(once):,} of {len(documents):,} documents is known")
            if stream == "masked":
                judge.hidden("search", map(json.dumps, documents), found)
        if stream in ("plain", "masked"):
            ids = [event["event_id"] for to, event in parts.hook.taken if to == stream]
            judge.arrived(stream, "hook", ids, aside.get("hook", []), logged, found, once=False)
            judge.in_order(stream, "hook", ids, logged.places, found)
    judge.hidden("hook", (json.dumps(event) for to, event in parts.hook.taken if to == "masked"), found)
    judge.hidden("dead letters", (json.dumps(letter, default=str) for letter in letters), found)
    for file in parts.directory.glob("*.log"):
        judge.hidden(file.name, file.read_text(errors="replace").splitlines(), found)
    say(f"{len(logged.places):,} events in the log, {len(letters):,} dead letters")
    return late
