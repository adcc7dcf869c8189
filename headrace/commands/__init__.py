"""The commands of `headrace`, a file a group."""
