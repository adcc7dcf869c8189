"""The destination `splunk_hec`: Splunk, and whatever else takes events as its HTTP Event Collector (HEC) does."""
