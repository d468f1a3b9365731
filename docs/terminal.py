"""Make docs/images/quickstart.svg, the terminal picture of the README, from a real run.

Run it on a machine that does nothing else, since the picture has times: `python docs/terminal.py`.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = ("edgegnn quickstart -o .", "edgegnn verify digits-dq-int8")
PICTURE = Path(__file__).parent / "images/quickstart.svg"
_CURSOR = re.compile(r"\x1b\[\?\d+[hl]")  # hides and shows the cursor
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)  # they would be asked for over the network


def output(command: str, folder: str) -> str:
    """Run a command as in a terminal of 100 columns; what it printed, with its colours."""
    words = [sys.executable, "-m", *command.split()]
    terminal = {"COLUMNS": "100", "FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "TERM": "xterm-256color"}
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(words, cwd=folder, env={**os.environ, **terminal, "PYTHONPATH": path}, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return _CURSOR.sub("", done.stdout.decode()).strip("\n")


def main() -> None:
    """Run the commands and write the picture."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "green"), (command, "bold")))
            console.print(Text.from_ansi(output(command, folder)))
            console.print()
    PICTURE.parent.mkdir(exist_ok=True)
    svg = console.export_svg(title="edgegnn quickstart", unique_id="edgegnn")
    PICTURE.write_text(_FONTS.sub("", svg) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
