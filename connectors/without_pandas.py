"""Arrow without pandas: no process of the dataflow has a use for it, and Arrow would import it with the first array made
of a list, where it is installed. That takes longer than the first 100,000 events do.
"""

from __future__ import annotations

import pyarrow as pa

from connectors.refusing import refusing


def leave_pandas_alone() -> None:
    """Has Arrow look for pandas now, and not find it. Whoever asks for pandas itself, then or later, gets it."""
    with refusing("pandas"):
        pa.array([0])
