"""What a Degree-Quant training step costs, against a QAT step (to stay under 1.5x).

    python benchmarks/degree_quant_step.py

GIN 5x64 on a batch of 128 graphs (REDDIT-BINARY when it is there, else random trees of the same sizes). Three
variants take turns in one process: QAT (moving average of min/max), Degree-Quant as built, and Degree-Quant with its
percentiles found the straightforward way, by selecting from all elements (`torch.kthvalue`) at every step.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from common import environment, write
from torch import Tensor
from torch_geometric.data import Data

from edgegnn.errors import DataError
from edgegnn.models import build
from edgegnn.quantize import add_protection, prepare, recipe
from edgegnn.quantize.quantizer import QuantPoint
from edgegnn.tasks import collate, load_task


def graphs() -> tuple[str, list[Data]]:
    try:
        task = load_task("reddit-binary", split="fold:0")
        return "reddit-binary", [task.graphs[i] for i in task.index["train"][:128].tolist()]
    except DataError:
        g = torch.Generator().manual_seed(0)
        made = []
        for i in range(128):
            n = int(torch.randint(50, 900, (1,), generator=g))
            parent = (torch.rand(n - 1, generator=g) ** 4 * torch.arange(1, n)).long()  # few hubs, many leaves
            edges = torch.stack([torch.arange(1, n), parent])
            made.append(Data(x=torch.randn(n, 1, generator=g), edge_index=torch.cat([edges, edges.flip(0)], 1)))
            made[-1].y = torch.tensor([i % 2])
        return "random trees", made


def select_from_all(self: QuantPoint, x: Tensor, row_weight: Tensor | None) -> None:
    """Percentiles as the reference computes them."""
    if row_weight is not None:
        x = x.repeat_interleave(row_weight, 0)
    values, n = x.flatten(), x.numel()
    lo = torch.kthvalue(values, max(1, int(n * self.quantile))).values.view(1)
    hi = torch.kthvalue(values, max(1, int(n * (1 - self.quantile)))).values.view(1)
    self.lo, self.hi = (torch.minimum(self.lo, lo), torch.maximum(self.hi, hi)) if self.seen else (lo, hi)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    name, batch_graphs = graphs()
    chosen = recipe("dq-int8")
    add_protection(batch_graphs, chosen.protect_low, chosen.protect_high)
    batch = collate(batch_graphs)
    inputs = (batch.x, batch.edge_index, batch.batch)
    ours = QuantPoint._observe_percentiles

    models = {}
    for label, kind in (("qat", "qat-int8"), ("dq", "dq-int8"), ("dq, percentiles of all", "dq-int8")):
        model = prepare(build("gin", in_channels=1, out_channels=2, kind="graph"), recipe(kind), inputs).train()
        models[label] = (model, torch.optim.Adam(model.parameters(), lr=0.001))
    times: dict[str, list[float]] = {label: [] for label in models}
    for step in range(args.steps + 3):
        for label, (model, optimizer) in models.items():
            QuantPoint._observe_percentiles = select_from_all if "all" in label else ours
            start = time.perf_counter()
            model.set_protection(batch.dq_prob)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(*inputs), batch.y).backward()
            optimizer.step()
            if step >= 3:
                times[label].append(time.perf_counter() - start)
    medians = {label: statistics.median(t) for label, t in times.items()}
    result = {
        "environment": environment(),
        "graphs": name,
        "nodes": int(batch.num_nodes),
        "edges": batch.edge_index.shape[1],
        "steps": args.steps,
        "median_s": medians,
        "min_s": {label: min(t) for label, t in times.items()},
        "dq_over_qat": medians["dq"] / medians["qat"],
        "percentiles_of_all_over_qat": medians["dq, percentiles of all"] / medians["qat"],
    }
    write("degree-quant-step", result)
    for label, seconds in medians.items():
        print(f"{label:26s} {1000 * seconds:8.1f} ms  {seconds / medians['qat']:.2f}x QAT")


if __name__ == "__main__":
    main()
