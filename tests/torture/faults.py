"""Doing the harm that a schedule asks for, and taking it back."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from tests.torture.parts import Kept, Parts
from tests.torture.processes import signal_all
from tests.torture.schedule import Fault

Heal = Callable[[], None]


def play(parts: Parts, faults: Sequence[Fault]) -> list[Fault]:
    """One round: does and heals each fault in its time, and returns the ones that were done, once all are healed."""
    began = time.monotonic()
    waiting = sorted(faults, key=lambda fault: fault.after)
    healing: list[tuple[float, Heal]] = []
    done: list[Fault] = []
    try:
        while waiting or healing:
            now = time.monotonic() - began
            if waiting and waiting[0].after <= now:
                fault = waiting.pop(0)
                heal = _do(parts, fault)
                if heal is not None:
                    done.append(fault)
                    healing.append((time.monotonic() - began + fault.hold, heal))
            elif healing and (first := min(healing, key=lambda item: item[0]))[0] <= now:
                healing.remove(first)
                first[1]()
            else:
                parts.revive()
                time.sleep(0.05)
    finally:
        for _, heal in healing:
            heal()
    return done


def _do(parts: Parts, fault: Fault) -> Heal | None:
    """Does it, and gives what takes it back; None where there was nothing to do it to."""
    match fault.kind:
        case "kill -9":
            return _kill(parts, fault)
        case "SIGSTOP":
            return _pause(_pids(parts, fault))
        case "zombie":
            return _zombie(parts, fault)
        case "network":
            proxy = parts.proxies[fault.target]
            proxy.set(fault.mode)
            return lambda: proxy.set("pass")
        case "destination":
            parts.hook.mode = fault.mode
            return lambda: setattr(parts.hook, "mode", "well")
        case "disk full":
            return _fill(parts)
        case "clock":
            clock = parts.clocks[fault.target]
            clock.jump(int(fault.mode))
            return lambda: clock.jump(0)
        case "processes":
            return _rescale(parts, fault)
        case "configuration":
            parts.change += 1
            parts.configure()
            return lambda: None
    raise ValueError(fault.kind)


def _kept(parts: Parts, fault: Fault) -> Kept:
    return parts.gateway if fault.target.startswith("gateway") else parts.dataflow


def _pids(parts: Parts, fault: Fault) -> list[int]:
    """The processes that the fault's target stands for: one chosen by `pick`, or all."""
    if fault.target in parts.servers:
        process = parts.servers[fault.target]._process
        return [] if process is None else [process.pid]
    if fault.target == "gateway":
        return parts.gateway.pids()
    if fault.target == "dataflow":
        return parts.dataflow.pids()[:1]
    if fault.target == "gateway worker":
        return _one(parts.gateway.pids(below=True), fault)
    workers = parts.dataflow.workers()
    return workers if fault.target == "all workers" else _one(workers, fault)


def _one(pids: list[int], fault: Fault) -> list[int]:
    return [pids[int(fault.pick * len(pids))]] if pids else []


def _kill(parts: Parts, fault: Fault) -> Heal | None:
    if fault.target in parts.servers:
        server = parts.servers[fault.target]
        server.kill()
        return lambda: server.start(seconds=120)
    if fault.target in ("gateway", "dataflow"):
        part = _kept(parts, fault)
        part.kill()
        return part.start
    pids = _pids(parts, fault)
    signal_all(pids, signal.SIGKILL)
    return (lambda: None) if pids else None


def _pause(pids: list[int]) -> Heal | None:
    signal_all(pids, signal.SIGSTOP)
    return (lambda: signal_all(pids, signal.SIGCONT)) if pids else None


def _zombie(parts: Parts, fault: Fault) -> Heal | None:
    """A worker that was thought dead wakes up beside its successor: it must not write any more."""
    pids = _pids(parts, fault)
    heal = _pause(pids)
    if heal is not None:
        parts.dataflow.kill()
        parts.dataflow.start()
    return heal


def _fill(parts: Parts) -> Heal:
    ballast = parts.data / "ballast"
    with (
        ballast.open("wb", buffering=0) as file,
        suppress(OSError),
    ):  # unbuffered: nothing is left that closing would write
        while True:
            file.write(b"\0" * 65536)
    return lambda: ballast.unlink(missing_ok=True)


def _rescale(parts: Parts, fault: Fault) -> Heal:
    others = [number for number in (1, 2, 3) if number != parts.processes]
    parts.processes = others[int(fault.pick * len(others))]
    if fault.mode == "stop":
        parts.dataflow.stop(60)
    else:
        parts.dataflow.kill()
    parts.dataflow.start()
    return lambda: None
