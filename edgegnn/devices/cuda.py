"""Which runtime brings an artifact onto the GPU of this machine."""

from __future__ import annotations

from edgegnn.devices.target import Target
from edgegnn.errors import TargetError
from edgegnn.runtime import Manifest
from edgegnn.runtime.cuda import cuda_problem
from edgegnn.runtime.manifest import MODEL_FILES

__all__ = ["cuda_found", "cuda_runtime"]


def cuda_found() -> tuple[str, str]:
    """The runtimes that can use a GPU here, "onnxruntime, torchscript" or fewer, and why the others can't."""
    problems = {runtime: cuda_problem(runtime) for runtime in MODEL_FILES}
    found = ", ".join(runtime for runtime, problem in problems.items() if not problem)
    return found, "; ".join(filter(None, problems.values()))


def cuda_runtime(manifest: Manifest, target: Target, asked: str | None = None) -> str:
    """The runtime to measure with: onnxruntime where it has CUDA and the artifact has ONNX, else torch.

    Args:
        manifest: of the artifact.
        target: a target whose processor is "cuda", on this machine.
        asked: the runtime that the user named.

    Raises:
        TargetError: none of the runtimes that the artifact has a model for can use a GPU here.
    """
    own = [runtime for runtime, file in MODEL_FILES.items() if file in manifest.files]
    reasons = []
    for runtime in [asked] if asked else own:
        problem = cuda_problem(runtime)
        if not problem:
            return runtime
        reasons.append(problem)
    usable = "" if asked or "torchscript" in own or cuda_problem("torchscript") else "torchscript"
    cure = "; torch here has CUDA: export the artifact again with --format both" if usable else ""
    raise TargetError(f"{target.name}: no CUDA that can be used on this machine: {'; '.join(reasons)}{cure}")
