"""Dataflow processes that start at once: forked off a process that has imported what they need, and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["flows.worker", "headrace.cli", "headrace.dlq.replay", "headrace.dlq.choice"])

SECONDS = 240.0


class Forked:
    """A dataflow process (`worker`) or `headrace …` (with a moment to be killed at, or an empty text).

    What it says comes through a pipe.
    """

    def __init__(self, target: str, *arguments: str, log: Path) -> None:
        reading, writing = _server.Pipe(duplex=False)
        self._said = reading
        self.log = log
        self._process = _server.Process(target=_main, args=(target, arguments, writing, str(log)), daemon=True)
        self._process.start()
        writing.close()

    def wait_for(self, word: str) -> None:
        """Returns once the process has said `word`; AssertionError with its log if it ends or takes too long."""
        said = ""
        while self._said.poll(SECONDS):
            try:
                said += self._said.recv()
            except EOFError:
                break
            if word in said:
                return
        raise AssertionError(f"no {word!r} in {said!r}: {self.log.read_text()[-3000:]}")

    def wait(self) -> int:
        """Its exit code."""
        self._process.join(SECONDS)
        assert self._process.exitcode is not None, self.log.read_text()[-3000:]
        return self._process.exitcode

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)
        self._process.join(30)


def drain(config: Path) -> None:
    """Runs the dataflow until it has committed all that the log holds."""
    worker = Forked("worker", "--config", str(config), "--drain", log=config.parent / "worker.log")
    try:
        worker.wait_for("flushed")
    finally:
        worker.kill()


def running(config: Path) -> Forked:
    """A dataflow that goes on until it is killed."""
    worker = Forked("worker", "--config", str(config), log=config.parent / "worker.log")
    worker.wait_for("ready")
    return worker


class _Says:
    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def write(self, text: str) -> int:
        self._pipe.send(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held."""


def _main(target: str, arguments: tuple[str, ...], pipe: Any, log: str) -> None:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    sys.argv = [target, *arguments]
    sys.stdout = _Says(pipe)
    if target == "worker":
        from flows.worker import main
    else:
        from headrace.__main__ import main

        if target:
            _die_at(target)
    main()


def _die_at(moment: str) -> None:
    """Has the process killed, as by `kill -9`, when the replay comes to this moment."""
    from headrace.dlq import replay

    def die(*_: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    append = replay._append

    def append_half(log: Any, records: Any) -> None:
        append(log, records[: len(records) // 2])
        die()

    match moment:
        case "before the append":
            replay._append = die
        case "within the append":
            replay._append = append_half
        case "before the removal":
            replay.remove = die  # type: ignore[assignment]
        case "after the removal":
            replay.Journal.clear = die  # type: ignore[method-assign]
        case _:
            raise AssertionError(moment)
