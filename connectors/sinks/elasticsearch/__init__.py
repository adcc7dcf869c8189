"""The destination `elasticsearch`: Elasticsearch, OpenSearch, and what speaks their bulk API."""
