"""From the destinations of a configuration to the writers of a process, by type.

What a type needs is imported where one of it is opened: most have a client of their own, and a configuration few types.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import assert_never

from connectors.log import Log
from connectors.sinks import dead_letters
from connectors.sinks.base import Rejects, Writer
from connectors.sinks.connection import Endpoint
from connectors.sinks.dead_letters import Fresh
from connectors.sinks.delta import DeltaWriter
from connectors.sinks.elasticsearch.settings import ElasticsearchDestination
from connectors.sinks.http.settings import HttpDestination
from connectors.sinks.kafka.settings import KafkaDestination
from connectors.sinks.push import PushWriter
from connectors.sinks.refusals import Refusals
from connectors.sinks.rejects import DeadLetters
from connectors.sinks.settings import DeltaDestination, ParquetDestination, Pushed
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.sinks.splunk_hec.settings import SplunkHecDestination
from connectors.sinks.stdout.settings import StdoutDestination
from connectors.sinks.syslog.settings import SyslogDestination
from flows.config import Config, Stream, config_version
from flows.rollups import table_of


def open_writers(
    config: Config,
    log: Log,
    *,
    before: Mapping[str, Stream] | None = None,
    only: str | None = None,
    fresh: Fresh = lambda letters: letters,
) -> dict[str, Writer]:
    """The destinations by name, or `only` one of them, and the dead letters.

    `before` are streams that the configuration may have no more, and of which something may still come. `fresh` gives of
    the dead letters that destinations make those that are to be kept.
    """
    streams = {**(before or {}), **config.streams}
    letters = DeltaDestination(uri=str(config.data / dead_letters.NAME), partition_by=())
    rejects = DeadLetters(letters, log.identity, log.place, config_version(config), fresh)
    schemas = {stream: settings.schema for stream, settings in streams.items()}
    rollups = [table_of(name, rollup) for name, stream in streams.items() for rollup in stream.rollups]
    writers: dict[str, Writer] = {}
    for name, destination in config.destinations.items():
        if only not in (None, name):
            continue
        refusals = Refusals(letters, log.identity, log.place, config_version(config), name, fresh)
        if isinstance(destination, Pushed):
            writers[name] = PushWriter(open_endpoint(name, destination, config), name, refusals, destination.batching)
        elif isinstance(destination, SnowflakeDestination):
            from connectors.sinks.snowflake.writer import SnowflakeWriter

            writers[name] = SnowflakeWriter(
                destination, log.identity, refusals, rollups=rollups, schemas=schemas, rejects=rejects, name=name
            )
        else:
            writers[name] = _table_writer(name, destination, log, schemas, rollups, rejects)
    writers[dead_letters.NAME] = DeltaWriter(letters, log.identity, name=dead_letters.NAME, base=dead_letters.SCHEMA)
    return writers


def _table_writer(
    name: str,
    destination: DeltaDestination | ParquetDestination,
    log: Log,
    schemas: Mapping[str, str],
    rollups: Collection[str],
    rejects: Rejects,
) -> Writer:
    match destination:
        case DeltaDestination():
            return DeltaWriter(destination, log.identity, name=name, rollups=rollups, schemas=schemas, rejects=rejects)
        case ParquetDestination():
            from connectors.sinks.parquet import ParquetWriter

            return ParquetWriter(
                destination, log.identity, name=name, rollups=rollups, schemas=schemas, rejects=rejects
            )
        case _:
            assert_never(destination)


def open_endpoint(name: str, destination: Pushed, config: Config) -> Endpoint:
    """The destination as something that can be connected to; nothing is yet. Raises ConfigError."""
    match destination:
        case ElasticsearchDestination():
            from connectors.sinks.elasticsearch.endpoint import ElasticsearchEndpoint

            return ElasticsearchEndpoint(destination)
        case HttpDestination():
            from connectors.sinks.http.endpoint import HttpEndpoint

            return HttpEndpoint(destination)
        case KafkaDestination():
            from connectors.sinks.kafka.endpoint import KafkaEndpoint

            return KafkaEndpoint(destination)
        case SplunkHecDestination():
            from connectors.sinks.splunk_hec.endpoint import SplunkHecEndpoint

            return SplunkHecEndpoint(destination)
        case StdoutDestination():
            from connectors.sinks.stdout.endpoint import StdoutEndpoint

            return StdoutEndpoint(destination, config.data / "state" / "stdout.lock")
        case SyslogDestination():
            from connectors.sinks.syslog.endpoint import SyslogEndpoint

            return SyslogEndpoint(destination, name)
        case _:
            assert_never(destination)
