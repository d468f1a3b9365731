"""What `random_models.py` found, as the committed summary.

    python tests/proof/random_summary.py FILE benchmarks/results/random-models.json

Of several lines of one model and recipe the last one counts; failures before it are listed as fixed.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import torch_geometric
from random_models import FAILURES, REFUSED, RIGHT, read

_PATTERNS = (
    (r"^(\w+Error: )quantization costs .*", r"\1quantization costs more of the metric than the limit and chance"),
    (r"^(\w+Error: )quantization leaves little of the outputs on (.*?):.*", r"\1quantization leaves little on \2"),
    (r"^(\w+Error: )the artifact predicts differently.*", r"\1the artifact predicts differently from PyTorch"),
    (r"^(\w+Error: )the artifact's logits differ.*", r"\1the artifact's logits differ from PyTorch's"),
    (r"PyTorch can't compute the gradients.*", "PyTorch can't compute the gradients of this model"),
    (r"\(\S+\.py:\d+\)", ""),
    (r"convs\.\d+\S*|norms\.\d+\S*", "LAYER"),
    (r"\d+(\.\d+)?(e-?\d+)?", "#"),
)


def reason(message: str) -> str:
    """A refusal without its numbers and names."""
    for pattern, other in _PATTERNS:
        message = re.sub(pattern, other, message)
    return message[:160].strip()


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts by recipe and outcome, signal-to-noise, reasons of refusals, and failures with what became of them."""
    last = {(r["seed"], r["recipe"]): r for r in rows}
    recipes = sorted({recipe for _, recipe in last})
    found = list(last.values())

    def decibels(recipe: str, key: str) -> list[float]:
        values = [r[key] for r in found if r["recipe"] == recipe and r["outcome"] == RIGHT and r.get(key) is not None]
        return [round(float(q), 1) for q in np.quantile(values, [0.05, 0.5, 0.95])] if values else []

    return {
        "command": "python tests/proof/random_models.py --count COUNT --seed SEED --output FILE",
        "versions": {
            "torch": torch.__version__,
            "torch_geometric": torch_geometric.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "commits": dict(Counter(str(r.get("commit", "unknown")) for r in found)),
        "seeds": [min(seed for seed, _ in last), max(seed for seed, _ in last)],
        "models": len({seed for seed, _ in last}),
        "models_and_recipes": len(found),
        "outcomes": dict(Counter(r["outcome"] for r in found)),
        "by_recipe": {name: dict(Counter(r["outcome"] for r in found if r["recipe"] == name)) for name in recipes},
        "graphs_compared": sum(r.get("graphs", 0) for r in found),
        "decibels_on_the_data_5_50_95": {name: decibels(name, "known") for name in recipes},
        "decibels_on_fresh_graphs_5_50_95": {name: decibels(name, "fresh") for name in recipes},
        "refusals": dict(Counter(reason(r["message"]) for r in found if r["outcome"] == REFUSED).most_common()),
        "failures": [_brief(r) for r in found if r["outcome"] in FAILURES],
        "failures_fixed": [
            {**_brief(r), "now": last[r["seed"], r["recipe"]]["outcome"]}
            for r in rows
            if r["outcome"] in FAILURES and last[r["seed"], r["recipe"]]["outcome"] not in FAILURES
        ],
    }


def _brief(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("seed", "recipe", "outcome")} | {"message": row["message"][:200]}


if __name__ == "__main__":
    content = json.dumps(summary(read(Path(sys.argv[1]))), indent=1)
    Path(sys.argv[2]).write_text(content + "\n", encoding="utf-8")
