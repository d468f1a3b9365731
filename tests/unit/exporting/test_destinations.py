"""Exports for microcontrollers: what does not fit is refused, with what would."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import c_models
import pytest

from edgegnn.devices.target import load_target
from edgegnn.errors import ExportError, TooLargeError, UsageError
from edgegnn.exporting.destinations import check_memory, destinations
from edgegnn.plain_c.values import Limits

GCC = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc here")


@pytest.fixture
def chip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("targets").mkdir()
    Path("targets/chip.toml").write_text(
        'description = "a chip"\narch = "thumb"\ntransport = "microcontroller"\ncpu = "cortex-m4"\n'
        "flash_bytes = 20000\nram_bytes = 6000\n"
    )
    return "chip"


@GCC
def test_targets_of_an_export(chip: str) -> None:
    assert destinations([], None).format is None
    assert destinations(["rpi"], None).machines == {"aarch64": "rpi"}
    found = destinations([chip, "rpi"], None)
    assert (found.format, [t.name for t in found.small], found.machines) == ("c", ["chip"], {"aarch64": "rpi"})
    assert destinations(["box"], None).machines == {}
    assert destinations(["box"], None).format == "c"
    with pytest.raises(UsageError, match="chip takes the C form"):
        destinations([chip], "onnx")


@GCC
def test_what_does_not_fit_is_refused(chip: str) -> None:
    model, said = c_models.gin(), []
    check_memory(model, "gin", Limits(64, 256), [load_target(chip)], said.append)
    assert said == ["compiling for chip"]
    with pytest.raises(ExportError, match=r"does not fit chip: RAM: .* 6,000 are there.* --max-nodes \d+ --max-edges"):
        check_memory(model, "gin", Limits(640, 2560), [load_target(chip)], said.append)
    Path("targets/chip.toml").write_text(Path("targets/chip.toml").read_text().replace("20000", "900"))
    with pytest.raises(TooLargeError, match=r"flash: .* 900 are there.* largest tables are qgemmnormfloat_w") as found:
        check_memory(model, "gin", Limits(64, 256), [load_target(chip)], said.append)
    assert re.search(r"4-bit weights \(--quant dq-int4, about [\d,]+ bytes\) or fewer channels", str(found.value))
    assert re.fullmatch(r"[\d,]+ of 900 bytes of flash", found.value.short)
    assert found.value.over > 0
    with pytest.raises(TooLargeError, match=r"bytes: fewer channels \(edgegnn compress --prune structured --sparsity"):
        check_memory(c_models.gin((4, 4)), "gin", Limits(64, 256), [load_target(chip)], said.append)
