"""Dead letters at the command line: which are meant, and how their events are sent again, each once."""
