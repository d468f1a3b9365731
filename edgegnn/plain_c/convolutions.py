"""C code of convolutions and pools over regular axes: time in front of graph layers, sorted nodes behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.loops import nested, place_at
from edgegnn.plain_c.reductions import REDUCTIONS
from edgegnn.plain_c.values import Dim, Shape, Tensor, fixed

__all__ = ["POOLS", "convolution", "pool"]


@dataclass(frozen=True)
class Window:
    """Where a window moves along one axis.

    Attributes:
        size: elements of the axis.
        kernel: elements of the window.
        stride: from one place of the window to the next.
        dilation: from one of its elements to the next.
        before: elements of padding in front of the axis.
        places: how many places the window has.
    """

    size: Dim
    kernel: Dim
    stride: int
    dilation: int
    before: int
    places: Dim

    def at(self, place: str, element: str) -> str:
        """The C expression of an element's place, counted from the first element of padding."""
        moved = place if self.stride == 1 else f"{place} * {self.stride}"
        return f"{moved} + {element}" if self.dilation == 1 else f"{moved} + {element} * {self.dilation}"

    @property
    def padded(self) -> bool:
        """Whether the window may stand outside the axis."""
        if self.size.fixed is None or self.kernel.fixed is None or self.places.fixed is None:
            return self.before > 0
        last = (self.places.fixed - 1) * self.stride + (self.kernel.fixed - 1) * self.dilation
        return self.before > 0 or last >= self.size.fixed


# Name -> what a pool makes of the numbers under a window, and whether the window is the whole axis.
POOLS = {
    "MaxPool": (REDUCTIONS["ReduceMax"], False),
    "AveragePool": (REDUCTIONS["ReduceMean"], False),
    "GlobalMaxPool": (REDUCTIONS["ReduceMax"], True),
    "GlobalAveragePool": (REDUCTIONS["ReduceMean"], True),
}


def convolution(builder: Builder, node: Node) -> None:
    """Conv of floats over any number of axes, with groups, strides, dilations and padding."""
    x, weight = builder.tensor(node, 0), builder.tensor(node, 1)
    if x.ctype != "float" or weight.ctype != "float":
        raise node.refuse("only convolutions of floats have one")
    groups = int(node.attributes.get("group", 1))
    channels, filters, inner = x.shape[1].fixed, weight.shape[0].fixed, weight.shape[1].fixed
    if channels is None or filters is None or inner is None or channels != groups * inner or filters % groups:
        raise node.refuse("its channels differ from graph to graph, or don't match its weights")
    windows = _windows(node, x.shape[2:], weight.shape[2:])
    bias = None
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = pointer(builder, node.inputs[2], builder.tensor(node, 2))
    sources = [pointer(builder, node.inputs[i], value) for i, value in enumerate((x, weight))]
    shape = (x.shape[0], fixed(filters), *(window.places for window in windows))
    y = builder.result(node.outputs[0], "float", shape)
    places, elements = _names("o", windows), _names("k", windows)
    channel = "channel" if groups == 1 else f"(filter / {filters // groups} * {inner} + channel)"
    factor = f"{sources[1]}[{place_at(['filter', 'channel', *elements], weight.shape)}]"
    product = f"{_read(sources[0], x, 'image', channel, windows)} * {factor}"
    body = _inside(windows, f"product = {product}; sum = sum + product;")
    inner_loops = nested(["channel", *elements], (fixed(inner), *(window.kernel for window in windows)), body)
    start = "0.0f" if bias is None else f"{bias}[filter]"
    target = f"{y.name}[{place_at(['image', 'filter', *places], shape)}]"
    text = f"{{\n  float sum = {start}, product;\n  {inner_loops}\n  {target} = sum;\n}}"
    builder.step(nested(["image", "filter", *places], shape, text))


def pool(builder: Builder, node: Node) -> None:
    """MaxPool, AveragePool and their global forms."""
    (form, whole), x = POOLS[node.op], builder.tensor(node, 0)
    if x.ctype != "float":
        raise node.refuse("only pools of floats have one")
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refuse("it gives the places of its maxima, too")
    sizes = x.shape[2:]
    kernel = sizes if whole else tuple(fixed(int(k)) for k in node.attributes.get("kernel_shape", ()))
    windows = _windows(node, sizes, kernel)
    if node.attributes.get("count_include_pad", 0) and any(window.padded for window in windows):
        raise node.refuse("it counts its padding")
    shape = (*x.shape[:2], *(window.places for window in windows))
    source = pointer(builder, node.inputs[0], x)
    y = builder.result(node.outputs[0], "float", shape)
    places, elements = _names("o", windows), _names("k", windows)
    read = f"const float own = {_read(source, x, 'image', 'filter', windows)};"
    body = _inside(windows, f"{{ {read} {form.step} times = times + 1; }}")
    loops = nested(elements, tuple(window.kernel for window in windows), body)
    target = f"{y.name}[{place_at(['image', 'filter', *places], shape)}]"
    text = (
        f"{{\n  float v = {form.start};\n  size_t times = 0;\n  {loops}\n  (void)times;\n  {target} = {form.end};\n}}"
    )
    builder.step(nested(["image", "filter", *places], shape, text))


def _windows(node: Node, sizes: Shape, kernel: Shape) -> tuple[Window, ...]:
    """The window of each axis.

    Raises:
        ExportError: the number of its places is not known.
    """
    number = len(sizes)
    if len(kernel) != number or node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise node.refuse("its padding is not given as numbers")
    if node.attributes.get("ceil_mode", 0):
        raise node.refuse("it rounds the number of its places up")
    strides, dilations = (_numbers(node.attributes.get(name), number, 1) for name in ("strides", "dilations"))
    pads = _numbers(node.attributes.get("pads"), 2 * number, 0)
    found = []
    for axis, (size, own) in enumerate(zip(sizes, kernel, strict=True)):
        before, after = pads[axis], pads[number + axis]
        places = size
        if own.text == size.text and size.fixed is None:
            places = fixed(1)  # the whole axis
        elif (own.fixed, strides[axis], before, after) != (1, 1, 0, 0):
            if size.fixed is None or own.fixed is None:
                raise node.refuse("the size of an axis along which it moves differs from graph to graph")
            room = size.fixed + before + after - dilations[axis] * (own.fixed - 1) - 1
            if room < 0:
                raise node.refuse("its window is larger than its input")
            places = fixed(room // strides[axis] + 1)
        found.append(Window(size, own, strides[axis], dilations[axis], before, places))
    return tuple(found)


def _numbers(given: Any, number: int, usual: int) -> list[int]:
    return [usual] * number if given is None else [int(value) for value in given]


def _names(letter: str, windows: tuple[Window, ...]) -> list[str]:
    return [f"{letter}{axis}" for axis in range(len(windows))]


def _read(source: str, x: Tensor, row: str, channel: str, windows: tuple[Window, ...]) -> str:
    """The C expression of the number under an element of the window."""
    at = []
    for axis, window in enumerate(windows):
        place = window.at(f"o{axis}", f"k{axis}")
        at.append(f"({place} - {window.before})" if window.before else f"({place})")
    return f"{source}[{place_at([row, channel, *at], x.shape)}]"


def _inside(windows: tuple[Window, ...], body: str) -> str:
    """A statement for the elements of the window that do not stand on padding."""
    tests = []
    for axis, window in enumerate(windows):
        if not window.padded:
            continue
        place = window.at(f"o{axis}", f"k{axis}")
        tests += [f"{place} >= {window.before}"] if window.before else []
        tests.append(f"{place} < {window.size.text} + {window.before}")
    return f"if ({' && '.join(tests)}) {{ {body} }}" if tests else f"{{ {body} }}"
