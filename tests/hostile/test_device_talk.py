"""A device that talks without end, or gives answers of another shape: one line, in bounded time and memory."""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Iterator

import pytest
from device_facts import known
from msgspec import to_builtins

from edgegnn.devices.transport.answers import Damaged, Message, Missing, Versions, decode
from edgegnn.devices.transport.device import Device
from edgegnn.errors import TargetError

READY = "echo 'edgegnn-hello x86_64 64 /p'; echo edgegnn-python 3.11.2; echo '{\"ok\": null}'; "
DEEP = '{"ok": ' + "[" * 100_000


@contextlib.contextmanager
def saying(*lines: str, ready: bool = True) -> Iterator[Device]:
    """A device that answers these lines, one each time that it is asked something."""
    talk = "".join(f"read -r line; printf '%s\\n' {shlex.quote(line)}; " for line in lines)
    device = Device(None, ["sh", "-c", f"{READY * ready}{talk} exec cat > /dev/null"], lambda text: None, None)
    try:
        if ready:
            device.greet("", 1e9)
        yield device
    finally:
        device.close()


@pytest.mark.parametrize(
    "script", ["while :; do echo x; sleep 0.02; done", "exec yes", "exec tr '\\0' x < /dev/zero"], ids=str
)
def test_a_login_script_that_never_ends(script: str) -> None:
    device = Device(None, ["sh", "-c", script], lambda text: None, None)
    try:
        with pytest.raises(TargetError, match=r"^local: it (doesn't answer|says more)"):
            greet(device)
    finally:
        device.close()


def greet(device: Device) -> None:

    device.greet("", time.monotonic() + 1.0)


@pytest.mark.parametrize(
    "line",
    [
        "edgegnn-hello",
        "edgegnn-hello x",
        "edgegnn-hello x ² /p",
        f"edgegnn-hello x {'9' * 5000} /p",
        f"edgegnn-hello {'x' * 5000} 64 /p",
        "edgegnn-hello x 64 /p\nedgegnn-python " + "9" * 5000,
        "edgegnn-hello x 64 /p\nedgegnn-python 3.²",
        "edgegnn-hello x 64\x1b[2J",
        "edgegnn-send\n" * 50,
    ],
)
def test_greetings_that_are_none(line: str) -> None:
    script = f"printf '%s\\n' {shlex.quote(line)}; sleep 0.2"
    device = Device(None, ["sh", "-c", script], lambda text: None, None)
    try:
        with pytest.raises(TargetError, match=r"^local: ") as error:
            greet(device)
        assert "\n" not in str(error.value)
        assert device.sent < 100_000
    finally:
        device.close()


SHAPES = ["null", "[]", "7", '"x"', "true", '{"missing": 1}', '{"missing": [], "free": -1}', '{"free": 1e999}']


@pytest.mark.parametrize("value", [*SHAPES, '{"missing": ["../x"], "free": 1}', '{"missing": [], "free": "1"}'])
def test_answers_of_another_shape(value: str) -> None:
    with saying(f'{{"ok": {value}}}') as device:
        with pytest.raises(TargetError, match=r"^local: it gives an answer of another kind") as error:
            device.ask("missing", Missing, timeout=5.0)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "line",
    ["{", "{}", '{"ok"', '{"error": null}', '{"error": 5}', '{"ok": }', DEEP, '{"error": "' + "x" * 90_000 + '"}'],
)
def test_lines_that_are_no_message(line: str) -> None:
    with saying(line) as device:
        with pytest.raises(TargetError, match=r"^local: ") as error:
            device.ask("missing", Missing, timeout=5.0)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 1000


def test_an_error_can_not_steer_the_terminal() -> None:
    with saying('{"error": "a\\u001b[2J\\nb\\u202ec"}') as device, pytest.raises(TargetError) as error:
        device.ask("missing", Missing, timeout=5.0)
    assert str(error.value) == "local: a\ufffd[2J b\ufffdc"


FACTS = to_builtins(known())


@pytest.mark.parametrize("field", sorted(set(FACTS) - {"skew"}))
def test_facts_of_another_type(field: str) -> None:
    wrong = [None, [], {}, "x" * 1_000_000, -(2**70)]
    if isinstance(FACTS[field], dict):
        wrong[2] = {"x": 1}
    if isinstance(FACTS[field], list):
        wrong[1] = [7]
    for value in wrong:
        message = decode(json.dumps({"ok": {**FACTS, field: value}}).encode(), Message)
        with saying() as device, pytest.raises(TargetError, match=rf"^local: it gives an answer .*\$\.{field}"):
            device.answer(message, type(known()))


def test_the_clock_is_compared_here() -> None:
    with saying(json.dumps({"ok": {**FACTS, "time": 0.0, "skew": 0.0}})) as device:
        assert device.facts(venv=True).skew < -1e9


@pytest.mark.parametrize(
    "answer",
    [
        {"versions": ["0001-" + "a" * 12, "../../x"], "current": "", "folder": "/f"},
        {"versions": ["0001-" + "a" * 12] * 20_000, "current": "", "folder": "/f"},
        {"versions": [], "current": None, "folder": "/f"},
        {"versions": [], "current": "", "folder": "/" * 5000},
    ],
    ids=["path", "many", "null", "long"],
)
def test_versions_that_are_none(answer: dict[str, object]) -> None:
    with pytest.raises(Damaged):
        decode(json.dumps(answer).encode(), Versions)
