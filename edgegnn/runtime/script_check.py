"""What a TorchScript file may hold: the code and the pickles of a model that only computes.

The code is parsed (it has Python's syntax), every part of it is compared with what a model needs, and it is written
anew: torch reads what was checked. A pickle is read into stand-ins: every tensor has to lie inside its storage, which
torch's own reader of these files doesn't check.
"""

from __future__ import annotations

import ast
import io
import math
import pickle
import pickletools
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from edgegnn.runtime.operators import computes

__all__ = ["Foreign", "check_pickle", "checked_code"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MOST_CODE = 8 * 2**20
_NODES = (
    *(ast.Module, ast.ClassDef, ast.FunctionDef, ast.arguments, ast.arg, ast.keyword),
    *(ast.Assign, ast.AnnAssign, ast.Expr, ast.Return, ast.If, ast.For, ast.While, ast.Pass, ast.Break, ast.Continue),
    *(ast.Call, ast.Attribute, ast.Name, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Subscript, ast.Slice),
    *(ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp),
    *(ast.expr_context, ast.unaryop, ast.operator, ast.boolop, ast.cmpop),
)
# What TorchScript has besides operators on tensors.
_BUILTINS = _words(
    """
    annotate bool float getattr int isinstance range unchecked_cast uninitialized
    """
)
_LOCAL = re.compile(r"_[0-9]+")  # a function of the file, by the local name that it has been given
_LANGUAGE = _words(
    """
    Bool BoolImplicit Float FloatImplicit Int IntImplicit ScalarImplicit __contains__ __derive_index __getitem__
    __is__ __isnot__ __not__ __and__ __or__ __xor__ __range_length __round_to_zero_floordiv _set_item append ceil
    device dim extend floordiv is_floating_point is_complex len list mathremainder tensor
    """
)
_PRIM = _words(
    """
    NumToTensor RaiseException abs data device dtype is_cuda itemsize layout max min unchecked_cast
    unchecked_unwrap_optional
    """
)
# Exchanged for operators that compare sizes (`_Comparing`).
_ATTENTION, _BATCH_NORM = "scaled_dot_product_attention", "_native_batch_norm_legit_no_training"
_OPCODES = _words(
    """
    PROTO STOP MARK GLOBAL NEWOBJ REDUCE BUILD BINPERSID NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINUNICODE EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS BINPUT
    LONG_BINPUT BINGET LONG_BINGET
    """
)
_STORAGES = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage"), 1),
    **dict.fromkeys(("ShortStorage", "HalfStorage", "BFloat16Storage"), 2),
    **dict.fromkeys(("IntStorage", "FloatStorage"), 4),
    **dict.fromkeys(("LongStorage", "DoubleStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}


class Foreign(ValueError):
    """Something that no model needs; the text says what."""


def checked_code(content: bytes) -> bytes:
    """The code of a model, written anew.

    Args:
        content: UTF-8.

    Raises:
        Foreign: it is none, or does more than compute.
    """
    if len(content) > _MOST_CODE:
        raise Foreign(f"{len(content)} bytes of code")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escape sequences
            tree = ast.parse(content.decode("utf-8"))
        _Checker().visit(tree)
        return ast.unparse(_Comparing().visit(tree)).encode() + b"\n"
    except Foreign:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Foreign("code that can't be read") from error


class _Checker(ast.NodeVisitor):
    """Goes through code; `Foreign` for what is not on one of the lists."""

    def visit(self, node: ast.AST) -> None:
        if not isinstance(node, _NODES):
            raise Foreign(f"{type(node).__name__} in its code")
        super().visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.decorator_list or node.keywords or [ast.unparse(base) for base in node.bases] != ["Module"]:
            raise Foreign(f"the class {node.name}, which is no module")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.decorator_list or node.name.startswith("__"):  # __setstate__ runs when the file is opened
            raise Foreign(node.name)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _dotted(node.func)
        first, _, rest = name.partition(".")
        if first == "torch":
            good = computes(rest) or rest in (*_LANGUAGE, _BATCH_NORM)
        elif first == "ops":
            space, _, operator = rest.partition(".")
            good = (
                operator in _PRIM
                if space == "prim"
                else space == "aten" and (computes(operator) or operator == _BATCH_NORM)
            )
        elif isinstance(node.func, ast.Name):
            good = name in _BUILTINS or bool(_LOCAL.fullmatch(name))
        else:  # code of the file; any other method could be an operator
            good = first == "__torch__" or (isinstance(node.func, ast.Attribute) and node.func.attr == "forward")
            self.visit(node.func)
        if not good:
            raise Foreign(name or "a call of something without a name")
        for child in (*node.args, *node.keywords):
            self.visit(child)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = _dotted(node)
        if name.startswith("__torch__.torch.classes"):  # objects of compiled code
            raise Foreign(name)
        if not name.startswith("__torch__."):
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in ("torch", "ops", "__torch__"):
            raise Foreign(f"{node.id} as a value")

    def visit_Constant(self, node: ast.Constant) -> None:
        if not isinstance(node.value, (bool, int, float, str, type(None))):
            raise Foreign(f"a constant of the type {type(node.value).__name__}")


class _Comparing(ast.NodeTransformer):
    """Exchanges operators that trust the sizes they are given for the ones that compare them.

    The inner operator of batch norm reads as many statistics as its input has channels. The CPU's attention reads as
    many values as there are keys. The attention that compares lays its answer out in another order, which a later
    `view` may refuse: `reshape` gives the same values, and a view where there is one.
    """

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        name = _dotted(node.func).removeprefix("ops.aten.").removeprefix("torch.")
        if name == _ATTENTION:
            return ast.Subscript(_call("_scaled_dot_product_attention_math", node.args, node.keywords), ast.Constant(0))
        if name == "view" and len(node.args) == 2 and not isinstance(node.args[1], ast.Constant):  # a constant: a dtype
            return _call("reshape", node.args, node.keywords)
        if name == _BATCH_NORM:
            if len(node.args) != 7 or node.keywords:
                raise Foreign(f"{name} with other arguments")
            tensors, rates = node.args[:5], node.args[5:]
            first = _call("batch_norm", [*tensors, ast.Constant(False), *rates, ast.Constant(False)])
            return ast.Tuple([first, ast.Constant(0), ast.Constant(0)])  # nothing reads what is for training
        return node


def _call(name: str, arguments: list[ast.expr], keywords: Sequence[ast.keyword] = ()) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("torch"), name), arguments, list(keywords))


def _dotted(node: ast.AST) -> str:
    """ "torch.add" for the attribute `add` of the name `torch`; "" for what is no chain of names."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


# -- pickles ----------------------------------------------------------------------------------------------------------


def check_pickle(content: bytes, storages: Mapping[str, bytes]) -> None:
    """See that a pickle holds tensors, numbers and texts, and each tensor lies inside its storage.

    Args:
        content: the pickle.
        storages: key -> bytes, of those that it can name.

    Raises:
        Foreign: it holds something else.
    """
    try:
        for opcode, _, _ in pickletools.genops(content):
            if opcode.name not in _OPCODES:
                raise Foreign(f"{opcode.name} in a pickle")
        _Reader(content, storages).load()
    except Foreign:
        raise
    except Exception as error:  # damaged in one of many ways
        raise Foreign("a pickle that can't be read") from error


class _Object:
    """Stands for a module of the file."""

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


class _Reader(pickle.Unpickler):
    def __init__(self, content: bytes, storages: Mapping[str, bytes]) -> None:
        super().__init__(io.BytesIO(content))
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if module == "torch" and name in _STORAGES:
            return name
        if full == "torch._utils._rebuild_tensor_v2":
            return _check_tensor
        if full == "collections.OrderedDict":
            return dict
        if re.fullmatch(r"__torch__(\.\w+)+", full) and not full.startswith("__torch__.torch.classes"):
            return _Object
        raise Foreign(f"{full} in a pickle")

    def persistent_load(self, pid: Any) -> int:
        """Elements of a storage."""
        kind, storage, key, _, count = pid
        if kind != "storage" or type(count) is not int or count < 0 or type(storage) is not str:
            raise Foreign("a storage without a size")
        if count * _STORAGES[storage] > len(self._storages.get(key, b"")):
            raise Foreign(f"a storage of {count} elements, which its file doesn't have")
        return count


def _check_tensor(storage: int, offset: Any, sizes: Any, strides: Any, *_: Any) -> None:
    numbers = [offset, *sizes, *strides]
    if not all(type(n) is int and 0 <= n < 2**62 for n in numbers) or len(sizes) != len(strides):
        raise Foreign("a tensor without a shape")
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides))  # noqa: B905 (Python 3.9)
    if math.prod(sizes) and last >= storage:
        raise Foreign("a tensor that is larger than its storage")
