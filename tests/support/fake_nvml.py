"""A libnvidia-ml that answers as the real one does, for machines without a GPU."""

from __future__ import annotations

from typing import Any

TEXTS = {
    2: "Invalid Argument",
    3: "Not Supported",
    4: "Insufficient Permissions",
    9: "Driver/library version mismatch",
}


class FakeNvml:
    """Answers through the pointers that ctypes passes.

    Args:
        gpus: how many there are.
        init: what nvmlInit gives back.
        counter: what asking the energy counter gives back.
        missing: the library can't be loaded.
        foreign: it is another library.
    """

    def __init__(
        self, *, gpus: int = 1, init: int = 0, counter: int = 0, missing: bool = False, foreign: bool = False
    ) -> None:
        self.gpus, self.init, self.counter, self.missing, self.foreign = gpus, init, counter, missing, foreign
        self.millijoules, self.used, self.open = 1_000_000, 2**30, 0
        self.asked: list[int] = []

        def text(code: int) -> bytes:
            return TEXTS[code].encode()

        self.nvmlErrorString = text

    def load(self, name: str) -> Any:
        assert name == "libnvidia-ml.so.1"
        if self.missing:
            raise OSError(f"{name}: cannot open shared object file")
        return object() if self.foreign else self

    def nvmlInit_v2(self) -> int:
        self.open += not self.init
        return self.init

    def nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        handle._obj.value = index.value + 100
        return 0 if index.value < self.gpus else 2

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:
        handle._obj.value = 101
        return 0 if uuid == b"GPU-abc" else 2

    def nvmlDeviceGetName(self, handle: Any, name: Any, length: int) -> int:
        name.value = b"Fake GPU"
        return 0

    def nvmlSystemGetDriverVersion(self, version: Any, length: int) -> int:
        version.value = b"999.1"
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.total, memory._obj.used = 80 * 2**30, self.used
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, value: Any) -> int:
        self.asked.append(handle.value - 100)
        value._obj.value = self.millijoules
        return self.counter
