"""Syslog servers: RFC 5424 messages over TCP or TLS."""

from connectors.sinks.syslog.endpoint import SyslogEndpoint
from connectors.sinks.syslog.settings import SyslogDestination

__all__ = ["SyslogDestination", "SyslogEndpoint"]
