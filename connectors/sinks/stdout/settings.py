"""What a configuration can say of the standard output."""

from __future__ import annotations

from connectors.sinks.sent import Sent

EVENTS_FD = "HEADRACE_EVENTS_FD"
"""The environment variable that names the descriptor events are written to."""


class StdoutDestination(Sent, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="stdout"):
    """The standard output of `headrace up` or `run`: each event a line of JSON, at least once.

        destinations:
          out: {type: stdout}

    The line that begins with `ready` stands among them.
    """
