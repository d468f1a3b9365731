"""Footprints of microcontrollers in a report: read with their checksum, drawn, and said where a model does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegnn.devices.microcontroller.limits import Needs
from edgegnn.errors import DataError, UsageError
from edgegnn.profiling.footprint import Footprint, InstructionCount, _write, read_footprint
from edgegnn.reporting.microcontrollers import section
from edgegnn.reporting.sources import read_sources


def weighed(artifact: str, flash: int, too_much: str = "") -> Footprint:
    return Footprint(
        target="cortex-m4",
        cpu="cortex-m4",
        artifact=artifact,
        recipe="none",
        model_sha256="0" * 64,
        created="2026-01-01T00:00:00Z",
        edgegnn="1",
        max_nodes=64,
        max_edges=256,
        needs=Needs(
            code=500,
            constants=flash - 600,
            support=100,
            flash=flash,
            arena=4000,
            stack=300,
            static=0,
            ram=4300,
            inputs=9,
            outputs=8,
        ),
        flash_bytes=0,
        ram_bytes=0,
        too_much=too_much,
        instructions=InstructionCount(median=1234, least=1000, most=2000, graphs=3, nodes=9, edges=20),
        agreement=1.0,
        max_abs_error=0.0,
        beyond=0,
        compiler="gcc",
        flags="-O3",
        emulator="qemu",
    )


def test_a_record_comes_back_and_a_changed_one_does_not(tmp_path: Path) -> None:
    _write(weighed("small", 2000), tmp_path / "small.json")
    assert read_footprint(tmp_path / "small.json") == weighed("small", 2000)
    text = (tmp_path / "small.json").read_text()
    (tmp_path / "small.json").write_text(text.replace('"flash": 2000', '"flash": 1000'))
    with pytest.raises(DataError, match="its checksum differs"):
        read_footprint(tmp_path / "small.json")


def test_sources_find_them_in_folders_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _write(weighed("small", 2000), tmp_path / "a" / "small.json")
    found = read_sources([tmp_path / "a", tmp_path / "a" / "small.json"])
    assert [record.artifact for _, record in found.footprints] == ["small"]
    assert not found.records
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises((DataError, UsageError), match="no profile record"):
        read_sources([tmp_path / "other.json"])


def test_the_section_shows_flash_memory_and_instructions() -> None:
    assert section([]) is None
    made = section([weighed("small", 2000), weighed("large", 90_000, "flash: 90,000 bytes")])
    assert made is not None
    (table,) = made.tables
    assert table.rows[0][:7] == ["small", "cortex-m4", "fp32", "2,000", "4,300", "1,234", "2,000"]
    assert table.notes[0] == "large on cortex-m4 does not fit: flash: 90,000 bytes."
    (figure,) = made.figures
    assert figure.data["flash_bytes"][1] == {
        "model": "large on cortex-m4",
        "constants": 89_400,
        "code": 500,
        "compiler's library": 100,
    }
