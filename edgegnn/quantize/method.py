"""What each quantization method does: one record a method, which other packages ask instead of comparing names."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True)
class Method:
    """A quantization method.

    Attributes:
        name: as recipes store it.
        quantizes: the exported model has codes.
        trains: it fine-tunes with fake quantization.
        post_training: it quantizes the finished ONNX graph, with the float model as reference.
        fixes_ranges: ranges come from training or calibration, so that a larger graph may leave them.
        one_scale: each quantization point has one scale, which the range guard can watch.
        learns_bits: steps and widths are learnt.
        protects_nodes: training leaves some nodes unquantized (Degree-Quant).
    """

    name: str
    quantizes: bool = True
    trains: bool = False
    post_training: bool = False
    fixes_ranges: bool = True
    one_scale: bool = True
    learns_bits: bool = False
    protects_nodes: bool = False


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("none", quantizes=False, fixes_ranges=False, one_scale=False),
        Method("dynamic", post_training=True, fixes_ranges=False, one_scale=False),
        Method("static", post_training=True),
        Method("qat", trains=True),
        Method("dq", trains=True, protects_nodes=True),
        Method("a2q", trains=True, one_scale=False, learns_bits=True),
    )
}
