"""The definition of `manifest.json`: what an artifact says of itself.

One definition for whoever writes the file, whoever reads it on the host, and its JSON Schema
(`python -m edgegnn.manifest`). `format` names the version: a field that changes its meaning makes a new version, one
that is only added does not. A field that older artifacts lack has a default here, and keys that are not known here are
ignored.

On the device, `edgegnn.runtime.manifest` checks by hand the part that it uses: there is no msgspec there.
"""

from __future__ import annotations

from edgegnn.manifest.computation import (
    Aggregation,
    CForm,
    LearntBits,
    RangePoint,
    Refusal,
    ScriptForm,
    ScriptTwin,
    SpeedAgainstFloat,
    StayedFloat,
    WebForm,
)
from edgegnn.manifest.data import (
    EntryPoint,
    File,
    GraphSizes,
    LinkCounts,
    LinkSplit,
    NativeLibrary,
    Negatives,
    Preprocessing,
    PreprocessingStep,
    Sample,
    SamplesTaken,
    Sizes,
    Task,
    TensorValue,
)
from edgegnn.manifest.definition import FORMAT, ArtifactManifest, manifest_schema, typed_manifest
from edgegnn.manifest.proof import (
    AgainstFloat,
    Compared,
    Drift,
    Drop,
    GraphParity,
    HeadMetric,
    InputResponse,
    LayerNoise,
    Metric,
    Noise,
    OutputParity,
    Parity,
    Property,
    SamplesMetric,
    ShortParity,
    SplitMetric,
    Tolerance,
)

__all__ = [
    "FORMAT",
    "AgainstFloat",
    "Aggregation",
    "ArtifactManifest",
    "CForm",
    "Compared",
    "Drift",
    "Drop",
    "EntryPoint",
    "File",
    "GraphParity",
    "GraphSizes",
    "HeadMetric",
    "InputResponse",
    "LayerNoise",
    "LearntBits",
    "LinkCounts",
    "LinkSplit",
    "Metric",
    "NativeLibrary",
    "Negatives",
    "Noise",
    "OutputParity",
    "Parity",
    "Preprocessing",
    "PreprocessingStep",
    "Property",
    "RangePoint",
    "Refusal",
    "Sample",
    "SamplesMetric",
    "SamplesTaken",
    "ScriptForm",
    "ScriptTwin",
    "ShortParity",
    "Sizes",
    "SpeedAgainstFloat",
    "SplitMetric",
    "StayedFloat",
    "Task",
    "TensorValue",
    "Tolerance",
    "WebForm",
    "manifest_schema",
    "typed_manifest",
]
