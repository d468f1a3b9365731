"""What files and devices say can't steer the terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from command_line import run
from rich.panel import Panel
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from edgegnn.cli.render import devices
from edgegnn.cli.render.terminal import Terminal, complain, say, text_column
from edgegnn.devices.readiness import Step
from edgegnn.errors import CheckpointError, printable
from edgegnn.runtime.manifest import seal_manifest

HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\r\x08\u202egnp.exe\u2066[link=http://e.example]b[/link] [red]c :smile:\x00"
STEERING = set("\x1b\x07\x9b\r\x08\x00\u202e\u2066")


def harmless(text: str) -> bool:
    return not STEERING & set(text)


def test_printable_keeps_words_and_lines() -> None:
    assert printable("Größe 3 µJ → 中\nnext") == "Größe 3 µJ → 中\nnext"
    assert harmless(printable(HOSTILE))


def test_tables_titles_and_bars_print_text_as_text() -> None:
    terminal = Terminal(width=200)
    terminal.file = io.StringIO()
    table = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    table.add_row(HOSTILE)
    for what in (HOSTILE, Text(HOSTILE), Panel(HOSTILE, title=Text(HOSTILE)), table):
        terminal.print(what)
    with Progress(text_column("{task.description}"), console=terminal) as bars:
        bars.add_task(HOSTILE, total=1)
    shown = terminal.file.getvalue()
    assert harmless(shown)
    assert shown.count("[link=http://e.example]b[/link] [red]c :smile:") >= 6


def test_own_styles_stay() -> None:
    terminal = Terminal(width=80)
    terminal.file, terminal._force_terminal = io.StringIO(), True
    terminal._color_system = 1  # type: ignore[assignment]
    terminal.print(Text("ok", style="green"), HOSTILE)
    shown = terminal.file.getvalue()
    assert "\x1b[" in shown
    assert harmless(shown.replace("\x1b[32mok\x1b[0m", ""))


def test_lines_on_stdout_and_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    complain(HOSTILE)
    out, err = capsys.readouterr()
    assert harmless(out)
    assert harmless(err)
    assert err.count("\n") == 1


def test_a_devices_words(capsys: pytest.CaptureFixture[str]) -> None:
    devices.checked("rpi", [Step("python", "failed", HOSTILE, HOSTILE)], False)
    out = capsys.readouterr().out
    assert harmless(out)
    assert "[link=http://e.example]" in out


@pytest.mark.slow
def test_an_artifacts_words(work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = work / "model-dq-int8" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["fallback"] = manifest["task"]["data"] = manifest["command"] = manifest["recipe"] = HOSTILE
    manifest["stayed_float"] = [{"tensor": HOSTILE, "bytes": 4, "why": HOSTILE}]
    path.write_text(json.dumps(seal_manifest(manifest)))
    for args in (["inspect", "model-dq-int8"], ["inspect", "--explain", "model-dq-int8"], ["verify", "model-dq-int8"]):
        _, out, err = run(capsys, monkeypatch, *args)
        assert harmless(out + err), args


def test_a_message_of_any_length_is_shown_in_a_few_lines():
    error = CheckpointError(f"{'a' * 10**6} is no model: take another")
    assert len(str(error)) < 2100
    assert str(error).startswith("aaa")
    assert str(error).endswith("is no model: take another")
