"""Who computes: edgegnn's artifacts, plain onnxruntime, PyTorch Geometric, the C form, OpenVINO, or a runtime of yours.

All are measured by `edgegnn.profiling.profile`, with the same passes in a fresh process. Nothing here imports torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgegnn.errors import UsageError
from edgegnn.tasks.catalog import closest

if TYPE_CHECKING:
    from edgegnn.bench.prepare import Prepared
    from edgegnn.devices.target import Target
    from edgegnn.profiling import ProfileRecord

__all__ = ["RUNNERS", "Runner", "choose_runners"]

Measure = Callable[["Prepared", "Target", dict[str, Any]], "ProfileRecord"]


@dataclass(frozen=True)
class Runner:
    """A way to run the tasks.

    Attributes:
        name: what the command line calls it.
        title: a few words for tables and pictures.
        measure: (task, target, options of `profile`) -> the record.
        quantized: it computes with the task's recipe; otherwise fp32.
        module: of Python that it needs; "" for none.
        cure: how that is installed.
        far: it also runs on devices over SSH.
        own: of edgegnn: others are what it is compared with.
        long: it can run for minutes and tell how it went (`--sustained`).
    """

    name: str
    title: str
    measure: Measure
    quantized: bool = False
    module: str = ""
    cure: str = ""
    far: bool = False
    own: bool = False
    long: bool = True

    def refusal(self, target: Target) -> str:
        """Why it can't run for a target; "" when it can."""
        if self.module and find_spec(self.module.partition(".")[0]) is None:
            return f"the runner {self.name} needs the Python package {self.module}: {self.cure}"
        if not self.far and target.transport != "local":
            return f"{self.name} runs on this machine only, not on {target.name}"
        return ""


def _of_artifact(folder: str) -> Measure:
    def measure(prepared: Prepared, target: Target, options: dict[str, Any]) -> ProfileRecord:
        from edgegnn.profiling import profile

        return profile(prepared.folder / folder, target=target, out=None, **options)

    return measure


def _of_c(prepared: Prepared, target: Target, options: dict[str, Any]) -> ProfileRecord:
    from edgegnn.bench.prepare import export_c
    from edgegnn.profiling import profile

    # One thread, and nothing there tells how minutes went.
    known = {name: value for name, value in options.items() if name not in ("threads", "sustained")}
    native = msgspec.structs.replace(target, runner="native")
    return profile(export_c(prepared), target=native, out=None, **known)


def _of_peer(function: str, runtime: str, file: str) -> Measure:
    """A peer in a process of its own (`edgegnn.bench.process`)."""

    def measure(prepared: Prepared, target: Target, options: dict[str, Any]) -> ProfileRecord:
        import edgegnn
        from edgegnn.profiling import profile
        from edgegnn.profiling.measure import Peer

        # The process has nothing of this one's Python settings, and may be started from a folder of the user's module.
        paths = [str(Path(edgegnn.__file__).parent.parent), str(Path.cwd())]
        start = (
            f"import runpy, sys; sys.path[:0] = {paths!r}; runpy.run_module('edgegnn.bench.process', None, '__main__')"
        )
        command = (sys.executable, "-c", start, function, str(prepared.folder.resolve()))
        peer = Peer(command, runtime, (prepared.folder / file).stat().st_size)
        return profile(prepared.folder / "fp32", target=target, out=None, peer=peer, **options)

    return measure


_ALL = (
    Runner("edgegnn", "edgegnn", _of_artifact("int8"), quantized=True, far=True, own=True),
    Runner("edgegnn-fp32", "edgegnn, fp32", _of_artifact("fp32"), far=True, own=True),
    Runner("onnxruntime", "ONNX Runtime", _of_artifact("plain"), far=True),
    Runner("eager", "PyG eager", _of_peer("edgegnn.bench.peers.eager:open_model", "torch eager", "model.pt")),
    Runner("c", "edgegnn, C", _of_c, quantized=True, far=True, own=True, long=False),
    Runner(
        "openvino",
        "OpenVINO",
        _of_peer("edgegnn.bench.peers.openvino:open_model", "openvino", "model.onnx"),
        module="openvino",
        cure="pip install openvino",
    ),
)
RUNNERS = {runner.name: runner for runner in _ALL}


def choose_runners(names: Sequence[str]) -> list[Runner]:
    """The runners with these names, in the order given; edgegnn's alone where none is named.

    Args:
        names: also several in one text, with commas; "module:function" is a runtime of the user's.

    Raises:
        UsageError: there is no such runner, or no such module.
    """
    wanted = dict.fromkeys(part.strip() for text in names for part in text.split(",") if part.strip())
    return [_chosen(name) for name in wanted] or [RUNNERS["edgegnn"]]


def _chosen(name: str) -> Runner:
    if name in RUNNERS:
        return RUNNERS[name]
    module, colon, function = name.partition(":")
    if not colon or not module or not function:
        raise UsageError(
            f"unknown runner {name[:60]!r}{closest(name, list(RUNNERS))}: choose among {', '.join(RUNNERS)}, or name "
            "your own as module:function"
        )
    top = module.partition(".")[0]
    if find_spec(top) is None and not Path(f"{top}.py").is_file() and not Path(top).is_dir():
        raise UsageError(f"--runner {name}: there is no module {top}: run in its folder, or install it")
    return Runner(name, name, _of_peer(name, name, "model.onnx"))
