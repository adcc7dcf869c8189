"""The one pipeline, written for each of the programs that headrace is compared with."""
