"""The Delta tables that a configuration can write."""

from __future__ import annotations

import msgspec

from connectors.sinks.settings import DEAD_LETTERS, DeltaDestination
from flows.config import Config
from flows.config.rules import routed_to
from flows.rollups import table_of


class LakeTable(msgspec.Struct, frozen=True):
    """A Delta table of the configuration: its destination's name, and its own (a stream's, a rollup's, `dead_letters`)."""

    destination: str
    name: str
    settings: DeltaDestination


def lake_tables(config: Config) -> list[LakeTable]:
    """Every Delta table that the configuration can write, the dead letters last."""
    found: dict[tuple[str, str], LakeTable] = {}
    for stream, settings in config.streams.items():
        goes = [(name, stream) for name in routed_to(settings)]
        goes += [(name, table_of(stream, rollup)) for rollup in settings.rollups for name in rollup.to]
        for name, table in goes:
            destination = config.destinations.get(name)
            if isinstance(destination, DeltaDestination):
                found[name, table] = LakeTable(name, table, destination)
    letters = DeltaDestination(uri=str(config.data / DEAD_LETTERS), partition_by=())
    return [*found.values(), LakeTable(DEAD_LETTERS, DEAD_LETTERS, letters)]
