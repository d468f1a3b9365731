"""What goes into a model and what comes out: which inputs it has, and what each of them belongs to."""

from __future__ import annotations

from edgegnn.signature.attributes import number_of, roles_of, with_told
from edgegnn.signature.forward import MATRIX_NAMES, adapted, other_names, own_inputs, takes_graph, with_matrix
from edgegnn.signature.items import items_of, remember_items
from edgegnn.signature.names import RAW, is_input
from edgegnn.signature.nested import nested
from edgegnn.signature.outputs import Every, Output, Outputs, as_rows, every_output
from edgegnn.signature.typed import Schema, TypedGraph

__all__ = [
    "MATRIX_NAMES",
    "RAW",
    "Every",
    "Output",
    "Outputs",
    "Schema",
    "TypedGraph",
    "adapted",
    "as_rows",
    "every_output",
    "is_input",
    "items_of",
    "nested",
    "number_of",
    "other_names",
    "own_inputs",
    "remember_items",
    "roles_of",
    "takes_graph",
    "with_matrix",
    "with_told",
]
