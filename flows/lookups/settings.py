"""What a lookup is told: its file, and the column that it is looked up by."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Format = Literal["csv", "json", "ndjson", "parquet", "mmdb"]

FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".mmdb": "mmdb",
}
"""By the end of the file's name."""


class Lookup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of rows to look up by the column `key`: .csv, .tsv, .json, .ndjson, .jsonl, .parquet; or a .mmdb, by address.

    It is read whole into memory, and anew when it changes, whole or not at all. Keys compare as text; of rows with the
    same key the last is taken.

        lookups:
          teams: {file: teams.csv, key: source}
          geo:   {file: GeoLite2-City.mmdb}
    """

    file: Path
    key: str | None = None

    @property
    def format(self) -> Format | None:
        """How the file is read; None where its name does not tell."""
        return FORMATS.get(self.file.suffix.lower())
