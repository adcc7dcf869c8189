"""Where destinations put their tables: addresses that can be used, and no two writers of one table."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from typing import Any

from msgspec import UNSET

from connectors.sinks.place import Place
from connectors.sinks.snowflake.identifiers import qualified
from connectors.sinks.snowflake.settings import SnowflakeDestination
from connectors.values import as_written
from flows.config.report import Report

_TEMPLATE = re.compile(r"\{([^{}]*)\}")
_S3 = re.compile(r"s3a?://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/|$)")
_S3_ONLY = (
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "allow_http",
    "virtual_hosted_style",
)


def check_destination(path: str, destination: Any, report: Report) -> None:
    """Tells what is wrong with one destination's address and with the options that go with it.

    Of those that are no files, the struct itself does.
    """
    uri: Any = getattr(destination, "uri", UNSET)
    if uri is UNSET or not isinstance(destination, Place):
        return
    for name in _TEMPLATE.findall(uri):
        if name != "stream":
            remedy = "only {stream} does, for the stream's name"
            what = f"{{{name[:60]}}} stands for nothing" if uri == as_written(uri) else "holds an unknown {…}"
            report.add(f"{path}.uri", what, remedy)
    if "{" in _TEMPLATE.sub("", uri) or "}" in _TEMPLATE.sub("", uri):
        report.add(f"{path}.uri", "a '{' or '}' without its partner", "write {stream} for the stream's name")
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme not in ("", "s3", "s3a", "file"):
        report.add(
            f"{path}.uri",
            f"{scheme[:20] if uri == as_written(uri) else 'this'}:// is not supported",
            "use a path or s3://bucket/prefix",
        )
    elif scheme == "file" and not uri.startswith("file:///"):
        report.add(f"{path}.uri", "a file:// address of another host", "write file:///absolute/path")
    elif destination.is_local:
        for option in _S3_ONLY:
            if report.has(f"{path}.{option}"):
                what = "means nothing for a table on a local disk"
                report.add(f"{path}.{option}", what, "remove it", severity="warning")
    elif not _S3.match(uri.replace("{stream}", "stream")):
        report.add(f"{path}.uri", "not the name of an S3 bucket", "write s3://bucket/prefix/{stream}")
    for given, absent in (("access_key_id", "secret_access_key"), ("secret_access_key", "access_key_id")):
        if report.has(f"{path}.{given}") and not report.has(f"{path}.{absent}"):
            report.add(f"{path}.{given}", f"there is no {absent} to go with it", "give both or none")


def check_tables(routed: dict[str, list[str]], destinations: dict[str, Any], report: Report) -> None:
    """Tells where two tables are the same, or one lies inside another; `routed` has each stream's destinations."""
    taken: dict[str, tuple[str, str]] = {}
    for stream, names in routed.items():
        for name in names:
            destination = destinations.get(name)
            found = _table_and_template(destination, stream)
            if found is None:
                continue
            table, key, template = found
            other = taken.setdefault(table, (stream, name))
            if other == (stream, name):
                continue
            if other[0] != stream and "{stream}" not in template:
                what = f"the streams {other[0]!r} and {stream!r} land in the same table"
                remedy = f"put {{stream}} into the {key}, or give each its destination"
                report.add(f"destinations.{name}.{key}", what, remedy)
            else:
                what = f"its table of stream {stream!r} is that of destination {other[1]!r} for {other[0]!r} too"
                report.add(f"destinations.{name}.{key}", what, "give each destination a place of its own")
    ordered = sorted(table.rstrip("/") + "/" for table in taken)
    for outer, inner in pairwise(ordered):
        if inner.startswith(outer):
            stream, name = taken[inner.rstrip("/")]
            what = f"its table of stream {stream!r} lies inside that of stream {taken[outer.rstrip('/')][0]!r}"
            report.add(f"destinations.{name}.uri", what, "give each destination a place of its own")


def _table_and_template(destination: Any, stream: str) -> tuple[str, str, str] | None:
    """(what tells the table from all others, the setting that names it, that setting); None where there is none."""
    if isinstance(destination, SnowflakeDestination):
        # An address of its own, which none of a file can lie in.
        where = (destination.account.lower(), destination.host or "", str(destination.port or ""))
        table = qualified(*where, *destination.place, destination.table_of(stream)).replace("/", "%2F")
        return f"snowflake:{table}", "table", destination.table
    uri: Any = getattr(destination, "uri", UNSET)
    if uri is UNSET or not isinstance(destination, Place):
        return None
    return _table(destination, stream), "uri", uri


def _table(destination: Place, stream: str) -> str:
    uri = destination.table_uri(stream)
    if destination.is_local:
        return os.path.normpath(uri)
    return "s3://" + re.sub(r"/+", "/", uri.partition("://")[2]).rstrip("/")
