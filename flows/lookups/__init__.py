"""Tables that `enrich` looks things up in: a file each, in memory, taken anew when the file changes.

`reading` makes a `KeyedTable` of a CSV, JSON, NDJSON or Parquet file, `geo` a `GeoTable` of an MMDB file, `watched` keeps
the newest of each for the whole process, and `installed` makes them functions of the connection that runs a pipeline.
"""
