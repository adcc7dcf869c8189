"""The destination `stdout`: each event as a line of JSON on the standard output of the command that runs the dataflow."""
