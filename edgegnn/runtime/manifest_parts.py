"""What `manifest.json` lists: tensors, files, entry points, samples, a metric."""

from __future__ import annotations

from dataclasses import dataclass

from edgegnn.runtime.roles import FIXED, ROLES, Role, usual_role

__all__ = ["Entry", "FileEntry", "Metric", "SampleEntry", "TensorSpec"]


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output.

    Attributes:
        name: as in the ONNX graph.
        dtype: numpy name, "float32" or "int64" mostly.
        shape: sizes; text is a size that differs from graph to graph ("num_nodes", "num_edges", "num_graphs").
        role: what an input belongs to, one of `edgegnn.runtime.roles.ROLES`, or "fixed" for a state that belongs to
            no node; "" for the usual one of its name. Of an
            output, one of `OUTPUT_ROLES`; "" for the manifest's kind.
        ends: of a relation between types of nodes, the sizes that its two rows count in; () for "num_nodes".
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    role: str = ""
    ends: tuple[str, ...] = ()

    @property
    def belongs(self) -> Role:
        """The role of an input; its size is the one in the shape, which may belong to one type of nodes or edges."""
        role = FIXED if self.role == FIXED.name else ROLES.get(self.role) or usual_role(self.name)
        role = role.of_rank(self.shape)
        size = self.shape[role.axis] if role.axis < len(self.shape) else None
        if isinstance(size, int) and "." in self.name:  # as many as the model has learnt rows for: "x.paper"
            size = f"{role.size}.{self.name.partition('.')[2]}"
        typed = isinstance(size, str) and size.startswith(f"{role.size}.")
        return role.sized(str(size), self.ends) if typed else role


@dataclass(frozen=True)
class FileEntry:
    """A file of the artifact: lower-case hex sha256, and bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Entry:
    """An entry point: its name, its ONNX file, what it takes and gives (`edgegnn.runtime.entries`)."""

    name: str
    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class SampleEntry:
    """One graph in samples.npz: `origin` is "data" (from the data set) or "synthetic" (an awkward shape)."""

    name: str
    origin: str
    num_nodes: int
    num_edges: int


@dataclass(frozen=True)
class Metric:
    """A metric over the `n` rows of the shipped samples: in [0, 1], or an error of 0 or more ("mae", "rmse")."""

    name: str
    value: float
    n: int
