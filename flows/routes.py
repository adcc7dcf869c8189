"""Routes: which destinations an event goes to."""

from __future__ import annotations

import msgspec


class Route(msgspec.Struct, frozen=True):
    """Sends the events for which `when` is true (all of them without one) to the destinations `to`.

    Routes are tried in the order written and the first that matches takes the event; with `also: true` the event goes
    to these destinations and is offered to the routes after it as well.

        routes:
          - {when: event.velocity.txns > 10, to: [siem], also: true}
          - {to: [lake]}
    """

    to: tuple[str, ...]
    when: str | None = None
    also: bool = False
