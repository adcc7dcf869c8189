"""The destination `http`: any server that takes JSON by POST."""
