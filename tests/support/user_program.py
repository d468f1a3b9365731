"""A program of a user's, for type checkers: every public function once, with its result in a variable of its type."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

import edgegnn
from edgegnn import runtime
from edgegnn.runtime import Model


def make(model: Path, data: Path) -> Path:
    """Train, compress, export, verify, measure."""
    checkpoint = edgegnn.train("gcn", str(data), output=model, settings={"epochs": 5})
    accuracy: float = checkpoint.metrics["test"] or 0.0
    small = edgegnn.compress(edgegnn.load(model), prune="global", sparsity=0.5)
    made = edgegnn.export(small.checkpoint, quant="dq-int8", output="artifact")
    path: Path = made.path
    held: bool = edgegnn.verify(path).ok
    facts = edgegnn.inspect(path)
    record = edgegnn.profile(path, quick=True)
    milliseconds: float = record.latency_ms.p50
    print(accuracy, held, facts["kind"], milliseconds)
    return path


def serve(path: Path, x: npt.NDArray[np.float32], edge_index: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Call the artifact."""
    model: Model = runtime.open(path, threads=1)
    kernels: str = model.kernels
    print(kernels)
    return model(x=x, edge_index=edge_index)


def compare(study: Path) -> int:
    """Run a study and a search."""
    summary = edgegnn.study(study, jobs=2)
    found = edgegnn.tune("model.pt", budget=15.0)
    written = edgegnn.report([str(study)], "report.html")
    print(found, written)
    return len(summary.failed)


def refuse(path: Path) -> str:
    """Catch what edgegnn raises."""
    try:
        edgegnn.load(path)
    except edgegnn.EdgeGNNError as error:
        return str(error)
    return ""
