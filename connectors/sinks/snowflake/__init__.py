"""The destination `snowflake`: a table a stream in Snowflake, each event in it exactly once."""
