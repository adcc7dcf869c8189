"""Steps with a memory: windows, rollups, throttles. They run in one place a stream (`flows.stateful.operator`)."""
