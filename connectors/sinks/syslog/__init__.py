"""The destination `syslog`: RFC 5424 messages over TCP or TLS."""
