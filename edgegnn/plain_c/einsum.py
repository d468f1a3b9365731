"""C code of Einsum."""

from __future__ import annotations

from edgegnn.plain_c.builder import Builder, Node, pointer
from edgegnn.plain_c.loops import nested, place_at
from edgegnn.plain_c.values import Dim

__all__ = ["einsum"]


def einsum(builder: Builder, node: Node) -> None:
    """Einsum of floats, a letter for each axis: sums of products over the letters that the output lacks."""
    equation = bytes(node.attributes["equation"]).decode("ascii", "replace").replace(" ", "")
    left, arrow, output = equation.partition("->")
    terms = left.split(",")
    values = [builder.tensor(node, place) for place in range(len(node.inputs))]
    letters = "".join(dict.fromkeys("".join(terms)))
    if not arrow:
        output = "".join(sorted(letter for letter in letters if left.count(letter) == 1))
    plain = letters.isalpha() and set(output) <= set(letters) and len(set(output)) == len(output)
    if not plain or len(terms) != len(values) or any(value.ctype != "float" for value in values):
        raise node.refuse("only sums of products of floats, with a letter for each axis, have one")
    sizes: dict[str, Dim] = {}
    for term, value in zip(terms, values, strict=True):
        if len(term) != len(value.shape):
            raise node.refuse("its equation doesn't match its inputs")
        for letter, dim in zip(term, value.shape, strict=True):
            sizes[letter] = builder.same(node, [sizes[letter], dim]) if letter in sizes else dim
    read = []
    for place, (term, value) in enumerate(zip(terms, values, strict=True)):
        at = place_at([_name(letter) for letter in term], value.shape)
        read.append(f"{pointer(builder, node.inputs[place], value)}[{at}]")
    shape = tuple(sizes[letter] for letter in output)
    y = builder.result(node.outputs[0], "float", shape)
    summed = [letter for letter in letters if letter not in output]
    product = "; ".join(f"product = product * {each}" for each in read[1:])
    body = f"{{ product = {read[0]}; {product}{'; ' if product else ''}sum = sum + product; }}"
    loops = nested([_name(letter) for letter in summed], tuple(sizes[letter] for letter in summed), body)
    target = f"{y.name}[{place_at([_name(letter) for letter in output], shape)}]"
    text = f"{{\n  float sum = 0.0f, product;\n  {loops}\n  {target} = sum;\n}}"
    builder.step(nested([_name(letter) for letter in output], shape, text))


def _name(letter: str) -> str:
    return f"at_{letter}" if letter.islower() else f"at_{letter.lower()}{letter.lower()}"
