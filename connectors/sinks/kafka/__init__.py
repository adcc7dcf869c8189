"""The destination `kafka`: topics of a Kafka cluster."""
