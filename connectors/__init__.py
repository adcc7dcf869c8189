"""The bottom layer: the wire contract, the log, the sinks, errors and telemetry. It imports none of the other packages."""
