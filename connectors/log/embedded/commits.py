"""Group commit: many threads append, one of them commits for all.

A commit costs an fsync (0.2 to 5 ms) whether it carries one record or a thousand. So the first thread to arrive leads:
it commits what is queued, while the others queue up behind it; then the oldest of those leads the next group. Nobody
hands work to another thread when there is no contention, and no thread is needed in the background.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from connectors.errors import Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

GROUP_BYTES = 8_388_608
GROUP_ITEMS = 4096


class GroupCommit(Generic[Item, Result]):
    """Runs `commit(items) -> results` for one group at a time; whatever it raises is raised to every member.

    `max_bytes` bounds what waits in memory; `patience` (seconds) bounds how long a member waits for its group's turn.
    """

    def __init__(
        self, commit: Callable[[list[Item]], list[Result]], *, patience: float, max_bytes: int, what: str
    ) -> None:
        self._commit = commit
        self._patience = patience
        self._max_bytes = max_bytes
        self._what = what
        self._lock = threading.Lock()
        self._queue: deque[_Member[Item, Result]] = deque()
        self._bytes = 0
        self._led = False  # somebody commits, or has been woken to

    def submit(self, item: Item, size: int) -> Result:
        """The result of the commit that carried `item`, of about `size` bytes; Unavailable past the bounds."""
        member: _Member[Item, Result] = _Member(item, size)
        with self._lock:
            if self._bytes + size > self._max_bytes:
                raise Unavailable(
                    f"{self._bytes:,} bytes already wait for {self._what}", remedy="send it again in a moment"
                )
            self._queue.append(member)
            self._bytes += size
            if not self._led:
                self._led = member.leads = True
        if not member.leads:
            self._await_turn(member)
        if not member.done:
            self._lead()
        return member.outcome()

    def _await_turn(self, member: _Member[Item, Result]) -> None:
        try:
            if member.woken.acquire(timeout=self._patience):
                return
        except BaseException:  # an interrupt in this thread must not leave the queue without a leader
            self._withdraw(member)
            raise
        with self._lock:
            late = not (member.done or member.leads)
        if late:
            self._withdraw(member)
            raise Unavailable(
                f"{self._what} did not acknowledge within {self._patience:g} s", remedy="send it again in a moment"
            )

    def _withdraw(self, member: _Member[Item, Result]) -> None:
        with self._lock:
            if member in self._queue:
                self._queue.remove(member)
                self._bytes -= member.size
            successor = self._next_leader() if member.leads and not member.done else None
        if successor is not None:
            successor.woken.release()

    def _lead(self) -> None:
        """Commits the group at the head of the queue: its first member is the caller's."""
        with self._lock:
            group = self._take()
        error: BaseException | None = None
        results: list[Result] = []
        try:
            results = self._commit([member.item for member in group])
        except BaseException as exc:
            error = exc
            if not isinstance(exc, Exception):
                raise  # the leader's own interrupt; `finally` tells the others
        finally:
            with self._lock:
                self._bytes -= sum(member.size for member in group)
                for position, member in enumerate(group):
                    member.done = True
                    member.error = error
                    member.result = None if error is not None else results[position]
                successor = self._next_leader()
            for member in group[1:]:  # the first is the caller
                member.woken.release()
            if successor is not None:
                successor.woken.release()

    def _take(self) -> list[_Member[Item, Result]]:
        group = [self._queue.popleft()]
        size = group[0].size
        while self._queue and len(group) < GROUP_ITEMS and size + self._queue[0].size <= GROUP_BYTES:
            size += self._queue[0].size
            group.append(self._queue.popleft())
        return group

    def _next_leader(self) -> _Member[Item, Result] | None:
        """The oldest one waiting, appointed; called with the lock held."""
        successor = self._queue[0] if self._queue else None
        self._led = successor is not None
        if successor is not None:
            successor.leads = True
        return successor


class _Member(Generic[Item, Result]):
    __slots__ = ("done", "error", "item", "leads", "result", "size", "woken")

    def __init__(self, item: Item, size: int) -> None:
        self.item = item
        self.size = size
        self.woken = threading.Lock()  # released once, to wake: an Event costs forty times as much
        self.woken.acquire()
        self.leads = False
        self.done = False
        self.result: Result | None = None
        self.error: BaseException | None = None

    def outcome(self) -> Result:
        if isinstance(self.error, Unavailable):  # one exception object must not be raised by several threads
            raise Unavailable(self.error.what, remedy=self.error.remedy) from self.error
        if isinstance(self.error, Exception):
            raise RuntimeError("committing a group of records") from self.error
        if self.error is not None:  # its leader was interrupted
            raise Unavailable("the commit was interrupted", remedy="send it again") from self.error
        assert self.result is not None
        return self.result
