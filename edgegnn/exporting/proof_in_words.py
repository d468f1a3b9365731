"""What an artifact was proved to do, in words."""

from __future__ import annotations

from typing import Any

from edgegnn.runtime.metrics import metric_text

__all__ = ["against_float", "kept_properties", "shipped_samples", "taken_graphs"]

_NEEDS = {
    "least_nodes": "nodes",
    "least_edges": "edges",
    "least_in_degree": "incoming edges at each node",
    "least_out_degree": "outgoing edges at each node",
    "least_degree": "edges at each node",
}


def taken_graphs(manifest: dict[str, Any]) -> str:
    """Which graphs an artifact takes; "" for any."""
    limits = manifest["limits"]
    most = f"at most {limits['num_nodes']:,} nodes" if "num_nodes" in limits else ""
    needs = [f"at least {limits[name]} {what}" for name, what in _NEEDS.items() if name in limits]
    of = " and ".join(part for part in (most, *needs) if part)
    alone = manifest["alone"]
    if not alone and not of:
        return ""
    why = f" ({alone})" if alone and not most else ""
    return ("one graph at a time" if alone else "graphs") + why + (f" of {of}" if of else "")


def shipped_samples(manifest: dict[str, Any]) -> str:
    """What of the test split samples.npz holds; "" for all of it."""
    taken = manifest.get("samples_taken")
    if taken is None or (taken["number"] == taken["of"] and not taken["cut"]):
        return ""
    words = f"{taken['number']:,} of {taken['of']:,} {taken['unit']} of the test split"
    if not taken["cut"]:
        return words
    part, hops = manifest["samples"][0], taken["hops"]
    same = f"with {hops} hops around them, which give the answers of the whole graph"
    own = "whose answers are those of the part: the model's depend on the whole graph"
    within = f"{part['num_nodes']:,} nodes, {part['num_edges']:,} edges: profile measures on them"
    return f"{words}, {own if hops is None else same} ({within})"


def kept_properties(manifest: dict[str, Any]) -> str:
    """Which properties of the model its artifact was held to; "" where none was tried."""
    found: dict[str, list[str]] = {}
    for entry in manifest.get("properties", []):
        found.setdefault(entry["told"], []).append(entry["property"])
    return "; ".join(f"{told}: {', '.join(names)}" for told, names in found.items())


def against_float(manifest: dict[str, Any]) -> dict[str, str]:
    """What quantization costs: a name and words for each fact; {} for a float artifact."""
    found = manifest.get("against_float") or {}
    if not found:
        return {}
    facts = {}
    metric = found["metric"]
    if metric is not None:
        values = [metric_text(metric["name"], metric[key]) for key in ("float", "quantized")]
        limit = "" if metric["limit"] is None else f", limit {metric['limit']:g}"
        what = f"{values[0]} to {values[1]}, {metric['drop']:.2f} points{limit}, n = {metric['n']}"
        facts["against the float model"] = f"{what} ({found['reference']}, validation)"
    noise = found["signal_to_noise"]
    layers = [layer for layer in noise["layers"] if layer["decibels"] is not None]
    if noise["outputs"] is not None:
        worst = min(layers, key=lambda layer: layer["decibels"], default=None)
        at = f", weakest layer {worst['layer']} {worst['decibels']:.1f} dB" if worst is not None else ""
        facts["signal-to-noise"] = f"{noise['outputs']:.1f} dB of outputs{at}"
    ignored = [entry["input"] for entry in found["inputs"] if entry["told"] == "ignored"]
    if ignored:
        facts["ignored"] = f"{', '.join(ignored)}: the float model's answers don't depend on it"
    return facts
