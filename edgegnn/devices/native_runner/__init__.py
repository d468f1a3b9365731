"""The runner for devices without Python: one static program, compiled for the device's processor from the C form.

src/            the program: npz files, samples, measuring
build           compile it with a model
talk            what it says while it measures, turned into the result of a `bench`
"""

from __future__ import annotations

from edgegnn.devices.native_runner.build import NativeProgram, build_runner, pack_samples

__all__ = ["NativeProgram", "build_runner", "pack_samples"]
