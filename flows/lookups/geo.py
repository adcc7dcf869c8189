"""An MMDB file (MaxMind's GeoIP format, which others write too): records by IP address, v4 and v6.

The file says nothing of what its records hold, so the fields are learned from its first networks. A private copy is
read: a file that is written over under a memory map would end the process.
"""

from __future__ import annotations

import contextlib
import ipaddress
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import maxminddb
import msgspec
import pyarrow as pa

from flows.columns import Path
from flows.lookups.table import Leaf, LookupFailed, below
from flows.steps.targets import parse_path

_LEARNED = 10_000  # networks whose records are looked at
_REMEMBERED = 50_000  # addresses whose records are kept at hand
_KINDS: dict[type, str] = {str: "VARCHAR", bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE"}
_ARROW = {"VARCHAR": pa.string(), "BOOLEAN": pa.bool_(), "BIGINT": pa.int64(), "DOUBLE": pa.float64()}
_LARGEST = 2**63


class GeoTable:
    """The records of an MMDB file. Belongs to any number of threads."""

    def __init__(self, content: bytes) -> None:
        """Raises LookupFailed where `content` is no MMDB file, or not a whole one."""
        try:
            with tempfile.NamedTemporaryFile(suffix=".mmdb") as copy:
                copy.write(content)
                copy.flush()
                self._reader = maxminddb.open_database(copy.name)
            kinds: dict[Path, str] = {}
            for _, record in islice(self._reader, _LEARNED):
                _learn(record, (), kinds)
        except (maxminddb.InvalidDatabaseError, ValueError, TypeError, UnicodeDecodeError) as exc:
            raise LookupFailed(f"it is no whole MMDB file: {str(exc).splitlines()[0][:200]}") from exc
        except OSError as exc:
            raise LookupFailed(f"it cannot be copied to {tempfile.gettempdir()}: {exc.strerror}") from exc
        self.leaves = tuple(Leaf(path, kind, _usual(path)) for path, kind in kinds.items())
        self._record = lru_cache(_REMEMBERED)(self._read)

    def __len__(self) -> int:
        return int(self._reader.metadata().node_count)

    def chosen(self, field: str) -> Sequence[Leaf]:
        """The fields at and below `field`; one that no record had so far is looked for all the same, as JSON."""
        with contextlib.suppress(ValueError):
            return below(field, self.leaves) or [Leaf(parse_path(field), "JSON")]
        return []

    def find(self, hashes: pa.ChunkedArray, texts: pa.ChunkedArray, leaves: Sequence[Leaf]) -> pa.StructArray:  # noqa: ARG002 -- for keys
        coded = texts.combine_chunks().dictionary_encode()
        records = [self._record(text) for text in coded.dictionary.to_pylist()]
        at = coded.indices
        columns = [
            pa.array([_value(record, leaf) for record in records], _ARROW[leaf.stored]).take(at) for leaf in leaves
        ]
        hit = pa.array([record is not None for record in records], pa.bool_()).take(at).fill_null(False)
        names = ["hit", *(f"c{number}" for number in range(len(leaves)))]
        return pa.StructArray.from_arrays([hit, *columns], names=names)

    def _read(self, text: str) -> Mapping[str, Any] | None:
        """The record of an address; None for what is none, and where there is none."""
        try:
            address = ipaddress.ip_address(text)
            mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
            record = self._reader.get(mapped or address)
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None
        return record if isinstance(record, Mapping) else None


def _learn(record: Any, path: Path, kinds: dict[Path, str]) -> None:
    if isinstance(record, Mapping):
        for name, value in record.items():
            _learn(value, (*path, name), kinds)
        return
    kind = _KINDS.get(type(record), "JSON")
    if kind == "BIGINT" and not -_LARGEST <= record < _LARGEST:
        kind = "JSON"
    known = kinds.get(path, kind)
    if path:
        kinds[path] = kind if known == kind else "DOUBLE" if {known, kind} == {"BIGINT", "DOUBLE"} else "JSON"


def _usual(path: Path) -> bool:
    """Of names in several languages the English ones."""
    return "names" not in path[:-1] or path[-1] == "en"


def _value(record: Any, leaf: Leaf) -> Any:
    for part in leaf.path:
        if not isinstance(record, Mapping):
            return None
        record = record.get(part)
    if record is None:
        return None
    if leaf.type == "JSON":
        return msgspec.json.encode(record, enc_hook=lambda value: bytes(value).hex()).decode()
    kind = _KINDS.get(type(record))
    if leaf.type == "DOUBLE" and kind == "BIGINT":
        return float(record)
    if kind != leaf.type or (kind == "BIGINT" and not -_LARGEST <= record < _LARGEST):
        return None
    return record
