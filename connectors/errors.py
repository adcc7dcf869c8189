"""What can go wrong, in the three fates a piece of work has: retried, set aside, or a crash.

There is no fourth: an error that is only logged is data lost.
"""

from __future__ import annotations


class HeadraceError(Exception):
    """An error a person can act on: what happened, and the remedy.

    The command line prints it as one line on stderr and exits 1; it never shows a stack trace for one.
    """

    def __init__(self, what: str, *, remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class Transient(HeadraceError):
    """A dependency is down or slow: the same work, done again later, can succeed.

    `retry_after`: seconds before which it will not, where the dependency said so.
    """

    def __init__(self, what: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.retry_after = retry_after


class Unavailable(Transient):
    """The log did not acknowledge an append: the caller must be told, and must send it again."""


class Rejected(HeadraceError):
    """A destination will never take this batch: it belongs to the dead letters."""


class Fenced(HeadraceError):
    """Another process has written what only this one may write: stop at once, and start again from what is committed."""


class ConfigError(HeadraceError):
    """The configuration, or what it points to, is wrong: nothing starts until a person mends it."""
