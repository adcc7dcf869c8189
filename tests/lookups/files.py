"""Files to look things up in, as their owners write them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

BERLIN = {
    "city": {"names": {"en": "Berlin", "de": "Berlin"}},
    "country": {"iso_code": "DE", "names": {"en": "Germany", "de": "Deutschland"}},
    "location": {"latitude": 52.5, "longitude": 13.4, "accuracy_radius": 20},
    "subdivisions": [{"iso_code": "BE"}],
}
PARIS = {
    "city": {"names": {"en": "Paris", "de": "Paris"}},
    "country": {"iso_code": "FR", "names": {"en": "France", "de": "Frankreich"}, "is_in_european_union": True},
    "location": {"latitude": 48.9, "longitude": 2.4},
}
NETWORKS = {"203.0.113.0/24": BERLIN, "2001:db8::/32": PARIS, "198.51.100.7/32": {"traits": {"score": 2}}}


def write_mmdb(path: Path, networks: Mapping[str, Any], *, version: int = 6) -> Path:
    """An MMDB file of these networks, put in the place of what was there."""
    writer = MMDBWriter(version, "GeoLite2-City", ipv4_compatible=version == 6, int_type="i32", float_type="f64")
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    aside = path.with_suffix(".aside")
    writer.to_db_file(str(aside))
    os.replace(aside, path)
    return path


def replace(path: Path, content: str | bytes) -> None:
    """Renames a new file over `path`."""
    aside = path.with_suffix(".aside")
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(aside, path)
