"""Splunk, and whatever else takes events as its HTTP Event Collector (HEC) does."""

from connectors.sinks.splunk_hec.endpoint import SplunkHecEndpoint
from connectors.sinks.splunk_hec.settings import SplunkHecDestination

__all__ = ["SplunkHecDestination", "SplunkHecEndpoint"]
