"""A native runner whose numbers are none: one line, and never a figure."""

from __future__ import annotations

import pytest
from c_artifact import make_c_artifact
from fuzz_foreign_cases import Lines, runner_lines

from edgegnn.devices.native_runner.talk import Talk
from edgegnn.errors import TargetError
from edgegnn.runtime import open_artifact
from edgegnn.runtime.samples import read_samples


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return open_artifact(make_c_artifact(tmp_path_factory.mktemp("talk") / "gin"))


@pytest.mark.parametrize("start", ["fact time", "pass", "times", "window 1", "memory", "warmup", "output"])
@pytest.mark.parametrize("value", ["9" * 400, "nan", "inf", "1e400", "٣", "1_0"])
def test_numbers_that_are_none(artifact, start, value):
    lines = [f"{start} {value} 1 1" if line.startswith(start) else line for line in runner_lines(artifact)]
    samples = list(read_samples(artifact))
    talk = Talk(Lines(lines), artifact, samples, len(samples), "box")
    with pytest.raises(TargetError, match="box: the runner") as error:
        list(iter(lambda: talk.next_line(0.0), None))
    assert "\n" not in str(error.value)
