"""Which layer of a user's model a failed export is about, and why, in one line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

__all__ = ["blame", "layer_of", "outside", "sentence"]

_Place = tuple[tuple[str, str] | None, str]  # (path, class) of a layer or None; " (file.py:12)" or ""
_OTHERS = tuple(str(Path(file).parent) for file in (torch.__file__, __file__, logging.__file__))
_VALUES = "its control flow depends on values in the graph; use tensor operations (torch.where, scatter) for that"
_SIZES = (
    "it takes a size of the example graph for a constant; compute with tensors of that size instead of Python numbers"
)


def blame(
    model: nn.Module | ExportedProgram,
    error: BaseException,
    *,
    args: Mapping[str, Tensor] | None = None,
    program: ExportedProgram | None = None,
    retrace: Callable[[], object] | None = None,
) -> str:
    """Say which layer could not be exported, and why.

    Args:
        model: what was exported.
        error: what the exporter raised.
        args: inputs by name; tells a model that fails anyway from one that can't be exported.
        program: the traced program, when tracing went well and the conversion to ONNX failed.
        retrace: traces again, to look for the place where a size becomes a constant (that error has no traceback).
    """
    chain = list(_chain(error))
    text = "\n".join(str(e) for e in chain)
    modules = {} if isinstance(model, ExportedProgram) else {id(m): (path, m) for path, m in model.named_modules()}
    where, line = _from_tracebacks(chain, modules)
    if args is not None and not isinstance(model, ExportedProgram):
        try:
            model(**args)
        except Exception as own:
            where, line = _from_tracebacks(list(_chain(own)), modules)
            return sentence(model, where, f"fails in PyTorch, too{line}: {type(own).__name__}: {_first(own)}")
    operator = re.search(r"target=torch\.ops\.([\w.]+)", text) or re.search(r"op='([\w.]+)'", text)
    if "data-dependent" in text:
        return sentence(model, where, f"{_VALUES}{line}")
    if "Constraints violated" in text:
        if retrace is not None:
            where, line = _from_log(retrace, modules)
        return sentence(model, where, f"{_SIZES}{line}")
    if program is not None and operator is not None:
        where = _from_program(program, operator[1])
        return sentence(model, where, f"the operator {operator[1]} has no ONNX form; use another layer")
    return sentence(model, where, f"{type(chain[-1]).__name__}: {_first(chain[-1])}{line}")


def sentence(model: nn.Module | ExportedProgram, where: tuple[str, str] | None, reason: str) -> str:
    """The one line that a user reads."""
    if where is not None and where[0]:
        layer = f"{where[0]} ({where[1]})"
    else:
        layer = "the program" if isinstance(model, ExportedProgram) else f"the model ({type(model).__name__})"
    return f"{layer} can't be exported: {reason}"


def outside(file: str) -> bool:
    """Whether a file of source code is the user's: neither torch's, nor PyG's, nor part of the export."""
    return not file.startswith(_OTHERS) and not Path(file).name.startswith("torch_geometric.")  # PyG writes files, too


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from; the origin is last."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _first(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"\x1b\[\d*m", "", lines[0])[:300] if lines else "no message"


def _frames_of(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame, step.tb_lineno
        step = step.tb_next


def _from_tracebacks(chain: list[BaseException], modules: Mapping[int, tuple[str, nn.Module]]) -> _Place:
    for error in reversed(chain):
        where, line = _innermost(_frames_of(error), modules)
        if where is not None:
            return where, line
    return None, ""


def _innermost(frames: Iterator[tuple[FrameType, int]], modules: Mapping[int, tuple[str, nn.Module]]) -> _Place:
    """The last frame that runs a method of one of the modules, and the last line of code that is not torch's."""
    where: tuple[str, str] | None = None
    line = ""
    for frame, number in frames:
        known = modules.get(id(frame.f_locals.get("self")))
        if known is not None:
            where = (known[0], type(known[1]).__name__)
        file = frame.f_code.co_filename
        if where is not None and outside(file):
            line = f" ({Path(file).name}:{number})"
    return where, line


def _from_program(program: ExportedProgram, operator: str) -> tuple[str, str] | None:
    core = operator.split(".")[1 if operator.startswith("aten.") else 0].lstrip("_")  # decomposed: aten._linalg_svd
    return next((place for node in program.graph.nodes if core in str(node.target) and (place := layer_of(node))), None)


def layer_of(node: torch.fx.Node) -> tuple[str, str] | None:
    """Path and class of the layer that made a node of a traced program."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if not stack:
        return None
    path, kind = stack[-1]
    name = kind if isinstance(kind, str) else kind.__name__
    return str(path).removeprefix("model").lstrip("."), name.rpartition(".")[2]


class _WhereFixed(logging.Handler):
    """Notes which module was running when the tracer made a symbolic size a constant."""

    def __init__(self, modules: Mapping[int, tuple[str, nn.Module]]) -> None:
        super().__init__(logging.INFO)
        self.modules = modules
        self.found: _Place = (None, "")

    def emit(self, record: logging.LogRecord) -> None:
        if self.found[0] is None and "range_refined_to_singleton" in record.getMessage():
            frames: list[tuple[FrameType, int]] = []
            frame: FrameType | None = sys._getframe()
            while frame is not None:
                frames.append((frame, frame.f_lineno))
                frame = frame.f_back
            self.found = _innermost(reversed(frames), self.modules)


def _from_log(retrace: Callable[[], object], modules: Mapping[int, tuple[str, nn.Module]]) -> _Place:
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    handler, level, disabled = _WhereFixed(modules), logger.level, logging.root.manager.disable
    others, propagate = logger.handlers[:], logger.propagate
    try:
        logging.disable(logging.NOTSET)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
        retrace()
    except Exception:
        pass  # the error that brought us here, again
    finally:
        logger.handlers, logger.propagate = others, propagate
        logger.setLevel(level)
        logging.disable(disabled)
    return handler.found
