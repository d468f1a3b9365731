"""A device that talks without end, or gives answers of another shape: one line, in bounded time and memory."""

import time

import pytest

from edgegnn.errors import TargetError
from edgegnn.profile.transport.device import Device

HELLO = "echo 'edgegnn-hello x86_64 64 /usr/bin/python3'; echo '{\"ok\": null}'; read -r line; "


@pytest.mark.parametrize(
    "script", ["while :; do echo x; sleep 0.02; done", "exec yes", "exec tr '\\0' x < /dev/zero"], ids=str
)
def test_a_login_script_that_never_ends(script: str) -> None:
    device = Device(None, ["sh", "-c", script], lambda text: None, None)
    try:
        with pytest.raises(TargetError, match=r"^local: it (doesn't answer|says more)"):
            device.greet("", time.monotonic() + 1.0)
    finally:
        device.close()


@pytest.mark.parametrize("answer", ['{"ok": null}', '{"ok": []}', '{"ok": {"missing": 1}}'])
def test_answers_of_another_shape(answer: str) -> None:
    script = f"{HELLO} printf '%s\\n' '{answer}'; exec cat > /dev/null"
    device = Device(None, ["sh", "-c", script], lambda text: None, None)
    try:
        device.greet("", time.monotonic() + 5.0)
        with pytest.raises(TargetError, match=r"^local: it (gives an answer without|has stopped)"):
            device.check(device.ask("missing", timeout=1.0), missing=list)
    finally:
        device.close()
