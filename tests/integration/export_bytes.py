"""Print the SHA-256 of `model.onnx` for twelve exports, as JSON: equal before and after a change that moves code only.

    python tests/integration/export_bytes.py > before.json
    git switch my-refactoring && python tests/integration/export_bytes.py | diff before.json -

Each export trains for two epochs on a small generated graph (or on forty of them) with a fixed seed, in one
thread. Bytes are comparable on one machine with one set of package versions.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import torch  # noqa: E402
from torch_geometric.data import Data  # noqa: E402

import edgegnn  # noqa: E402

NODES, CLASSES = 60, 3
EXPORTS = (
    ("gcn", "dq-int8"),
    ("gcn", "a2q"),
    ("gat", "dq-int8"),
    ("gat", "dq-int4"),
    ("gin", "static-int8"),
    ("gin", "dq-int8"),
    ("sage", "static-int8"),
    ("sage", "dq-int4"),
    ("spline", "dq-int8"),
    ("ness", "static-int8"),
    ("hgpsl", "dq-int8"),
    ("transformer", "dq-int4"),
)
GRAPH_MODELS = {"gin", "hgpsl"}


def graph(nodes: int, seed: int) -> Data:
    """Make an undirected random graph with features."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(0, nodes, (4 * nodes,), generator=generator)
    target = torch.randint(0, nodes, (4 * nodes,), generator=generator)
    both = torch.cat([torch.stack([source, target]), torch.stack([target, source])], dim=1)
    return Data(x=torch.randn(nodes, 8, generator=generator), edge_index=both)


def write_data(folder: Path) -> None:
    """Write `node.pt`, a graph with labels and masks of nodes, and `graphs.pt`, a list of graphs with a class each."""
    data = graph(NODES, seed=0)
    data.y = torch.arange(NODES) % CLASSES
    part = torch.arange(NODES) % 4
    data.train_mask, data.val_mask, data.test_mask = part < 2, part == 2, part == 3
    torch.save(data, folder / "node.pt")
    graphs = [graph(10 + i % 7, seed=i) for i in range(40)]
    for i, one in enumerate(graphs):
        one.y = torch.tensor([i % 2])
    torch.save(graphs, folder / "graphs.pt")


def main() -> None:
    """Train, export and print."""
    torch.set_num_threads(1)
    digests = {}
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))
        for model, quant in EXPORTS:
            name = f"{model}-{quant}"
            data = str(Path(folder) / ("graphs.pt" if model in GRAPH_MODELS else "node.pt"))
            task = {"task": "link-prediction"} if model == "ness" else {}
            checkpoint = Path(folder) / f"{name}.pt"
            settings = {"epochs": 2, "seed": 0}
            edgegnn.train(model, data, output=checkpoint, settings=settings, **task)
            try:
                edgegnn.export(
                    checkpoint, quant=quant, output=Path(folder) / name, settings=settings, max_accuracy_drop=100.0
                )
            except edgegnn.EdgeGNNError as error:  # a refusal has to stay the same, too
                digests[name] = str(error)
                continue
            files = sorted((Path(folder) / name).glob("*.onnx"))
            digests[name] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
            print(name, file=sys.stderr)
    print(json.dumps(digests, indent=2))


if __name__ == "__main__":
    main()
