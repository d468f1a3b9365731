"""What goes into a model and what comes out: which inputs it has, and what each of them belongs to."""

from __future__ import annotations

from edgegnn.signature.attributes import is_input, number_of, roles_of, with_told
from edgegnn.signature.forward import adapted, other_names, takes_graph
from edgegnn.signature.outputs import Every, Output, Outputs, as_rows, every_output

__all__ = [
    "Every",
    "Output",
    "Outputs",
    "adapted",
    "as_rows",
    "every_output",
    "is_input",
    "number_of",
    "other_names",
    "roles_of",
    "takes_graph",
    "with_told",
]
