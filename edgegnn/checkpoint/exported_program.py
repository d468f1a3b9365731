"""Open a `.pt2` program (torch.export) without running what a stranger put into it.

`torch.export.load` trusts its file: it unpickles, loads libraries, imports modules, looks operators up by dotted name,
compiles guards, and hands size expressions to sympy, which evaluates them. So torch never sees the file: what a program
of tensors needs is taken from it, checked, and put into a new archive.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from edgegnn.checkpoint.checked_operators import EXCHANGED, compare_sizes
from edgegnn.errors import CheckpointError, first_line
from edgegnn.runtime.archive import pack_entries, read_entries
from edgegnn.runtime.operators import computes

__all__ = ["is_program", "is_torchscript", "load_program"]

_MODEL, _SAMPLES = "models/model.json", "data/sample_inputs/model.pt"
_PLAIN = ("archive_format", "archive_version", "byteorder", ".data/version", "version", ".data/serialization_id")
_GROUPS = {"weights": "model_weights_config.json", "constants": "model_constants_config.json"}
_OPERATOR = re.compile(r"torch\.ops\.(\w+)\.(\w+)\.\w+")
_OWN = ("fake_quantize", "learnt_quantize")
_HIGHER = ("torch.ops.higher_order.wrap_with_set_grad_enabled", "torch.ops.higher_order.wrap_with_autocast")
_INTEGERS = (
    "abs",
    "add",
    "and_",
    "eq",
    "floordiv",
    "ge",
    "getitem",
    "gt",
    "invert",
    "le",
    "lshift",
    "lt",
    "mod",
    "mul",
    "ne",
    "neg",
    "not_",
    "or_",
    "pos",
    "pow",
    "rshift",
    "sub",
    "truediv",
    "xor",
)
_ARITHMETIC = frozenset(
    [f"{module}.{name}" for module in ("operator", "_operator") for name in _INTEGERS]
    + [f"math.{name}" for name in ("ceil", "floor", "trunc", "sqrt", "log", "log2", "exp")]
    + [f"torch.sym_{name}" for name in ("float", "int", "ite", "max", "min", "not", "sum", "sqrt")]
    + ["torch._sym_sqrt"]
)
_FUNCTIONS = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Max",
        "Min",
        "Mod",
        "PythonMod",
        "FloorDiv",
        "CleanDiv",
        "CeilDiv",
        "CeilToInt",
        "FloorToInt",
        "ModularIndexing",
        "Where",
        "FloatTrueDiv",
        "IntTrueDiv",
        "TruncToFloat",
        "TruncToInt",
        "RoundToInt",
        "ToFloat",
        "Identity",
        "GreaterThan",
        "LessThan",
        "StrictGreaterThan",
        "StrictLessThan",
        "Equality",
        "Unequality",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "And",
        "Or",
        "Not",
        "IsNonOverlappingAndDenseIndicator",
    ]
)
_POWERS = ("Pow", "PowByNatural")
_SYMBOL = re.compile(r"z?[su]\d{1,4}|zu?f\d{1,4}")
_CONTAINERS = ("builtins.tuple", "builtins.list", "builtins.dict")
_METADATA = ("stack_trace", "nn_module_stack", "torch_fn")
_MOST_REPEATED = 2**22  # elements that weights may repeat, all together


def is_program(path: Path) -> bool:
    """Whether the file is a `torch.export` archive."""
    return any(n.endswith(("archive_format", "serialized_exported_program.json")) for n in _names(path))


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive (`torch.jit.save`)."""
    return any(n.endswith("/constants.pkl") for n in _names(path))


def _names(path: Path) -> list[str]:
    """Names in an archive, in lower case; none where the file is no zip, or is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.lower() for name in archive.namelist()]
    except Exception:  # damaged in one of many ways: whoever reads the file says so
        return []


def load_program(path: Path) -> ExportedProgram:
    """Read a program whose archive holds tensors, a graph of torch operators, and nothing that could run code.

    Raises:
        CheckpointError: damaged, newer than this torch, or it holds something else.
    """
    try:
        entries = read_entries(path.read_bytes(), str(path), CheckpointError)
        program = torch.export.load(io.BytesIO(pack_entries(_rebuilt(path, entries))))
        compare_sizes(program, str(path))
        return program
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path} is not a torch.export program, or is damaged: {first_line(error)}") from error


def _rebuilt(path: Path, entries: Mapping[str, bytes]) -> dict[str, bytes]:
    """The entries of a new archive."""
    if _MODEL not in entries:
        raise CheckpointError(f"{path} has no {_MODEL}: export it again with torch 2.8 or newer")
    found = {name: entries[name] for name in _PLAIN if name in entries}
    known = {_MODEL, _SAMPLES, *found}
    for group, config in _GROUPS.items():
        base = f"data/{group}"
        if f"{base}/model.pt" in entries:  # torch 2.8 and before
            found[f"{base}/model.pt"] = _tensors(path, f"{base}/model.pt", entries)
        else:
            listed, repeated = json.loads(entries[f"{base}/{config}"])["config"], 0
            for name, meta in listed.items():
                content = entries[_payload(path, base, name, meta)]
                repeated += _check_size(path, name, meta["tensor_meta"], len(content))
                found[f"{base}/{meta['path_name']}"] = content
            if repeated > _MOST_REPEATED:
                raise CheckpointError(f"{path} has weights of {repeated} elements that its file doesn't hold: refused")
            found[f"{base}/{config}"] = json.dumps({"config": listed}).encode()
        known |= {n for n in found if n.startswith(base)}
    foreign = sorted(n for n in entries if n not in known and not n.startswith("extra/"))
    if foreign:
        raise CheckpointError(f"{path} holds {foreign[0][:80]!r}, which no program of tensors does: refused")
    found[_SAMPLES] = _tensors(path, _SAMPLES, entries) if entries.get(_SAMPLES) else b""
    found[_MODEL] = json.dumps(_program(path, json.loads(entries[_MODEL]))).encode()
    return found


def _payload(path: Path, base: str, name: str, meta: dict[str, Any]) -> str:
    if meta["use_pickle"] is not False:
        raise CheckpointError(f"{path} holds pickled tensors, which can run any code when opened: refused")
    if not re.fullmatch(r"(?:weight|tensor)_\d+", meta["path_name"]):
        raise CheckpointError(
            f"{path} holds a pickled object ({name[:80]}), which can run any code when opened: refused"
        )
    return f"{base}/{meta['path_name']}"


def _check_size(path: Path, name: str, meta: dict[str, Any], stored: int) -> int:
    """See that a weight lies inside its bytes; returns how many more elements it has than bytes (it repeats some)."""
    sizes, strides = ([number["as_int"] for number in meta[key]] for key in ("sizes", "strides"))
    numbers = [*sizes, *strides, meta["storage_offset"]["as_int"]]
    good = len(sizes) == len(strides) and all(type(n) is int and 0 <= n < 2**62 for n in numbers)
    count = math.prod(sizes) if good else 0
    if count:
        good = numbers[-1] + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True)) < stored
    if not good:
        raise CheckpointError(f"{path}: {name[:80]} has {stored} bytes for the shape {str(sizes)[:80]}: damaged")
    return max(0, count - stored)


def _tensors(path: Path, name: str, entries: Mapping[str, bytes]) -> bytes:
    """Tensors, saved anew: of nested lists, tuples and dictionaries."""
    content = entries[name]
    if not content:
        return content
    try:
        clean = pack_entries(read_entries(content, name, CheckpointError))
        value = torch.load(io.BytesIO(clean), map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} holds pickled objects ({name}) that are no tensors: refused") from error
    out = io.BytesIO()
    torch.save(_only_tensors(value), out)
    return out.getvalue()


def _only_tensors(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_only_tensors(v) for v in value) if type(value) in (tuple, list) else None
    if isinstance(value, dict):
        return {str(k): _only_tensors(v) for k, v in value.items()}
    return value if isinstance(value, (Tensor, int, float, str)) else None


def _program(path: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """The program's description without what it can do without, all else checked."""
    module = raw["graph_module"]
    for entry in module["module_call_graph"]:
        if entry.get("signature"):
            for key in ("in_spec", "out_spec"):
                entry["signature"][key] = json.dumps(_tree(path, json.loads(entry["signature"][key])))
    for name, bounds in raw["range_constraints"].items():
        if not _SYMBOL.fullmatch(name):
            _expression(path, name)
        if not all(v is None or type(v) is int for v in bounds.values()):
            raise CheckpointError(f"{path}: the range of {name[:40]} is no numbers: refused")
    # Guards are Python source that torch would compile.
    known = {**raw, "guards_code": [], "graph_module": {**module, "metadata": {}, "treespec_namedtuple_fields": {}}}
    cleaned: dict[str, Any] = _walk(known, path, 0)
    return cleaned


def _tree(path: Path, raw: Any) -> list[Any]:
    """How arguments nest: [version, tree]."""

    def node(found: dict[str, Any]) -> dict[str, Any]:
        kind, context = found["type"], found["context"]
        if kind is not None and kind not in _CONTAINERS:
            raise CheckpointError(
                f"{path} takes or gives a {str(kind)[:80]!r}, which is no tuple, list or dict: refused"
            )
        keys = json.loads(context) if isinstance(context, str) else None
        if kind == "builtins.dict" and not (isinstance(keys, list) and all(isinstance(k, (str, int)) for k in keys)):
            raise CheckpointError(f"{path} takes or gives a dict with keys that are no names: refused")
        if kind != "builtins.dict" and keys is not None:
            raise CheckpointError(f"{path} has a tree of arguments with an unknown content: refused")
        return {"type": kind, "context": context, "children_spec": [node(child) for child in found["children_spec"]]}

    version, tree = raw
    if version != 1:
        raise CheckpointError(f"{path} describes its arguments in a newer way ({str(version)[:20]}): upgrade torch")
    return [version, node(tree)]


def _walk(value: Any, path: Path, depth: int) -> Any:
    """A copy with every field checked that torch looks up or evaluates."""
    if isinstance(value, list):
        return [_walk(v, path, depth + 1) for v in value]
    if not isinstance(value, dict):
        return value
    out = {}
    for key, inner in value.items():
        if key in ("as_custom_obj", "custom_obj", "as_operator") and inner:
            raise CheckpointError(f"{path} holds an object that is no tensor: refused")
        if key == "metadata" and isinstance(inner, dict) and "target" in value:
            inner = {k: str(inner[k]) for k in _METADATA if k in inner}
        check = _CHECKS.get(key)
        if check is not None and isinstance(inner, str):
            check(path, inner)
        out[key] = _walk(inner, path, depth + 1)
    return out


def _target(path: Path, target: str) -> None:
    found = _OPERATOR.fullmatch(target)
    known = target in _HIGHER or target in _ARITHMETIC
    if found:
        space, name = found.groups()
        known = (computes(name) or name in EXCHANGED) if space == "aten" else space == "edgegnn" and name in _OWN
    if not known:
        raise CheckpointError(
            f"{path} calls {target[:80]!r}, which is not among the operators that only compute: refused. Write it "
            "without run_decompositions(), or save `model.state_dict()` and give --factory"
        )


def _expression(path: Path, text: str) -> None:
    """Arithmetic on sizes: names of sizes, numbers, and the functions that torch writes."""
    try:
        if len(text) > 5000:
            raise ValueError("too long")
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{path} holds a size expression that is no arithmetic: refused") from error
    powers = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            good = called in _FUNCTIONS or called in _POWERS
            good = good and all(k.arg and isinstance(k.value, ast.Constant) for k in node.keywords)
            power = called in _POWERS
            exponent = node.args[1] if power and len(node.args) == 2 else None
        elif isinstance(node, ast.Name):
            good, power, exponent = (
                bool(_SYMBOL.fullmatch(node.id)) or node.id in (*_FUNCTIONS, *_POWERS, "oo", "int_oo"),
                False,
                None,
            )
        elif isinstance(node, ast.Constant):
            of = node.value
            good = isinstance(of, (bool, float)) or (isinstance(of, int) and abs(of) < 2**64)
            good = good or (isinstance(of, str) and bool(_SYMBOL.fullmatch(of)))
            power, exponent = False, None
        else:
            good = isinstance(
                node,
                (
                    ast.Expression,
                    ast.BinOp,
                    ast.UnaryOp,
                    ast.Compare,
                    ast.keyword,
                    ast.operator,
                    ast.unaryop,
                    ast.cmpop,
                    ast.Load,
                ),
            )
            power = isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Pow, ast.LShift))
            exponent = node.right if isinstance(node, ast.BinOp) and power else None
        if isinstance(exponent, ast.Call) and _is_integer(exponent):
            exponent = exponent.args[0]
        if isinstance(exponent, ast.UnaryOp):
            exponent = exponent.operand
        small = isinstance(exponent, ast.Constant) and isinstance(exponent.value, int) and exponent.value <= 8
        powers += power
        if not good or (power and not small) or powers > 4:
            raise CheckpointError(f"{path} holds a size expression that is no arithmetic: refused")


def _is_integer(call: ast.Call) -> bool:
    """Whether it is a number as sympy writes it, `Integer(2)`."""
    return isinstance(call.func, ast.Name) and call.func.id == "Integer" and len(call.args) == 1


_CHECKS: dict[str, Callable[[Path, str], None]] = {"target": _target, "expr_str": _expression}
