"""The log again, through the present configuration: a span of it, for one destination, each event once."""
