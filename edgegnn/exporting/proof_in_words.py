"""What an artifact was proved to do, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegnn.runtime.metrics import metric_text

if TYPE_CHECKING:
    from edgegnn.manifest import ArtifactManifest, Drift

__all__ = ["against_float", "drift_in_words", "kept_properties", "shipped_samples", "slower_than_float", "taken_graphs"]

_NOISE = 1.05  # times as long as the float form: what differs from run to run

_NEEDS = {
    "least_nodes": "nodes",
    "least_edges": "edges",
    "least_in_degree": "incoming edges at each node",
    "least_out_degree": "outgoing edges at each node",
    "least_degree": "edges at each node",
}


def taken_graphs(manifest: ArtifactManifest) -> str:
    """Which graphs an artifact takes; "" for any."""
    limits = manifest.limits
    most = f"at most {limits['num_nodes']:,} nodes" if "num_nodes" in limits else ""
    needs = [f"at least {limits[name]} {what}" for name, what in _NEEDS.items() if name in limits]
    of = " and ".join(part for part in (most, *needs) if part)
    alone = manifest.alone
    if not alone and not of:
        return ""
    why = f" ({alone})" if alone and not most else ""
    return ("one graph at a time" if alone else "graphs") + why + (f" of {of}" if of else "")


def shipped_samples(manifest: ArtifactManifest) -> str:
    """Which part of the test split is in samples.npz; "" for all of it."""
    taken = manifest.samples_taken
    if taken is None or (taken.number == taken.of and not taken.cut):
        return ""
    words = f"{taken.number:,} of {taken.of:,} {taken.unit} of the test split"
    if not taken.cut:
        return words
    part, hops = manifest.samples[0], taken.hops
    same = f"with {hops} hops around them, which give the answers of the whole graph"
    own = "answered for the part alone: the model's own answers depend on the whole graph"
    within = f"{part.num_nodes:,} nodes, {part.num_edges:,} edges: profile measures on them"
    return f"{words}, {own if hops is None else same} ({within})"


def drift_in_words(drift: Drift) -> str:
    """How far a recurrent model and its artifact are apart after consecutive steps."""
    share = drift.worst / drift.spread if drift.spread else 0.0
    return (
        f"at most {drift.worst:.3g} from PyTorch ({share:.2%} of the outputs' spread), {drift.first:.3g} after the "
        f"first, {drift.last:.3g} after the last; the state at most {drift.state:.3g}; each goes on with its own state"
    )


def kept_properties(manifest: ArtifactManifest) -> str:
    """Which properties of the model its artifact was held to; "" where none was tried."""
    found: dict[str, list[str]] = {}
    for entry in manifest.properties:
        found.setdefault(entry.told, []).append(entry.property)
    return "; ".join(f"{told}: {', '.join(names)}" for told, names in found.items())


def against_float(manifest: ArtifactManifest) -> dict[str, str]:
    """What quantization costs: a name and words for each fact; {} for a float artifact."""
    found = manifest.against_float
    if found is None:
        return {}
    facts = {}
    metric, noise = found.metric, found.signal_to_noise
    if metric is not None:
        values = [metric_text(metric.name, value) for value in (metric.before, metric.after)]
        limit = "" if metric.limit is None else f", limit {metric.limit:g}"
        what = f"{values[0]} to {values[1]}, {metric.drop:.2f} points{limit}, n = {metric.n}"
        facts["against the float model"] = f"{what} ({found.reference}, validation)"
    if noise.outputs is not None:
        known = [(layer.decibels, layer.layer) for layer in noise.layers if layer.decibels is not None]
        worst = min(known, key=lambda pair: pair[0], default=None)
        at = f", weakest layer {worst[1]} {worst[0]:.1f} dB" if worst is not None else ""
        facts["signal-to-noise"] = f"{noise.outputs:.1f} dB of outputs{at}"
    ignored = [entry.input for entry in found.inputs if entry.told == "ignored"]
    if ignored:
        facts["ignored"] = f"{', '.join(ignored)}: the float model's answers don't depend on it"
    return facts


def slower_than_float(manifest: ArtifactManifest) -> str:
    """That the artifact takes longer than the float form of the model; "" where it doesn't, or nobody knows."""
    found = manifest.speed_against_float
    if found is None or found.ms is None or found.float_ms is None or found.ms <= _NOISE * found.float_ms:
        return ""
    graphs = f"{found.graphs} shipped graph{'s' * (found.graphs != 1)}"
    return f"{found.ms:.3g} ms, the same model in float {found.float_ms:.3g} ms (here, {graphs}, 1 thread)"
