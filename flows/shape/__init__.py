"""The shape of a stream's events: what its paths are and of which kind, learned from the events themselves.

Discovering structure costs several times what a typed parse costs, so it happens only when an event does not fit what
is known. A batch is first checked against the known shape (`fit.py`: one strict typed decode in C); when it fits, it is
parsed with that shape as declared columns (`sql.py`); when it does not, the shape is widened (`learn.py`) and every
event fits again. Widening never narrows back, so a stream settles.
"""

from flows.shape.fit import Misfit, Unreadable, first_misfit
from flows.shape.learn import Listed, learn
from flows.shape.nodes import Any, List, Node, Null, Scalar, Shape, Struct
from flows.shape.sql import STREAM_NAME, concatenate, document_relation, relation

__all__ = [
    "STREAM_NAME",
    "Any",
    "List",
    "Listed",
    "Misfit",
    "Node",
    "Null",
    "Scalar",
    "Shape",
    "Struct",
    "Unreadable",
    "concatenate",
    "document_relation",
    "first_misfit",
    "learn",
    "relation",
]
