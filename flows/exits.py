"""With what a process of the dataflow ends, for its supervisor to read."""

from __future__ import annotations

EXIT_CONFIG = 2
"""The configuration is wrong: starting again would not help."""

EXIT_BOUNDS = 3
"""A batch took too much, and is set aside by the process that comes after: it starts at once."""

EXIT_CLOCK = 4
"""The clock was set back, which the engine would sleep through: the process that comes after starts at once."""
