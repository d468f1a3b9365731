"""A model on an NVIDIA GPU: can it run here, and what GPU is it?"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from edgegnn.errors import ArtifactError, first_line
from edgegnn.runtime.energy import ReadingError, open_gpu

__all__ = ["PROCESSORS", "PROVIDERS", "check_provider", "cuda_problem", "gpu_facts", "gpu_used"]

PROCESSORS = ("cpu", "cuda")
_PROVIDER = "CUDAExecutionProvider"
# TF32 rounds the factors of a product to 10 bits: not what PyTorch computed.
PROVIDERS: list[Any] = [(_PROVIDER, {"device_id": 0, "use_tf32": "0"}), "CPUExecutionProvider"]


def cuda_problem(runtime: str) -> str:
    """Why a runtime can't use a GPU here, and what to install; "" when it can.

    Args:
        runtime: "onnxruntime" or "torchscript".
    """
    # CUDA sorts GPUs by speed otherwise, and the energy would be another one's.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return _torch_problem() if runtime == "torchscript" else _onnxruntime_problem()


def check_provider(session: Any) -> None:
    """See that a session really runs on the GPU: onnxruntime takes the CPU without a word where CUDA can't be loaded.

    Raises:
        ArtifactError: it does not.
    """
    if session.get_providers()[:1] != [_PROVIDER]:
        raise ArtifactError(
            "onnxruntime can't load CUDA here: it needs an NVIDIA driver, and the CUDA and cuDNN that it was built for "
            "(python -m pip install 'onnxruntime-gpu[cuda,cudnn]')"
        )


def gpu_facts() -> dict[str, Any]:
    """`gpu` (its name), `gpu_driver`, `gpu_memory_bytes`; empty where the driver's library is not to be had."""
    try:
        gpu = open_gpu()
    except ReadingError:
        return {}
    gpu.close()
    return {"gpu": gpu.name, "gpu_driver": gpu.driver, "gpu_memory_bytes": gpu.memory_bytes}


def gpu_used() -> int | None:
    """Bytes of GPU memory in use now, by all programs; None where nobody tells."""
    try:
        gpu = open_gpu()
    except ReadingError:
        return None
    try:
        return gpu.used_bytes()
    except ReadingError:
        return None
    finally:
        gpu.close()


def _onnxruntime_problem() -> str:
    try:
        import onnxruntime
    except ImportError:
        return "onnxruntime is not installed (python -m pip install onnxruntime-gpu)"
    # CUDA and cuDNN that were installed by pip lie where no loader looks.
    preload = getattr(onnxruntime, "preload_dlls", None)
    if _PROVIDER not in onnxruntime.get_available_providers():
        return (
            f"onnxruntime {onnxruntime.__version__} is the one for CPUs "
            "(python -m pip uninstall onnxruntime; python -m pip install onnxruntime-gpu)"
        )
    if preload is not None:
        with contextlib.suppress(Exception):  # the session says what is missing
            preload()
    return ""


def _torch_problem() -> str:
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    try:
        if torch.cuda.is_available():
            return ""
    except Exception as error:  # a driver that doesn't fit raises what it likes
        return f"torch {torch.__version__}: {first_line(error)}"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is the one for CPUs (install one for CUDA: pytorch.org/get-started)"
    return f"torch {torch.__version__} finds no GPU that it can use"
