"""The code blocks of the README and of docs/: found, parsed against the command line, and run.

```python title="mymodels.py"       a file: written to the page's folder
<!-- run --> or <!-- run: slow -->  in front of a block: the page's test runs it, in the order of the page
any other block                     its `edgegnn` lines are parsed: commands, options, types, names
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from edgegnn.cli import app, start

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"(?:^<!-- (?P<how>run|run: slow) -->\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A code block: its language, the file it is (or ""), how it is run ("", "run", "run: slow"), its text and line."""

    language: str
    title: str
    how: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["language"], m["title"] or "", m["how"] or "", m["code"], text.count("\n", 0, m.start("code")) + 1)
        for m in _BLOCK.finditer(text)
    ]


def command_lines(block: Block) -> list[list[str]]:
    """Return the words of each command of a block; comments are left out, `a && b` is two commands."""
    found = []
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line.strip().removeprefix("- run: "), comments=True)
        while "&&" in words:
            found.append(words[: words.index("&&")])
            words = words[words.index("&&") + 1 :]
        found.append(words)
    return [words for words in found if words]


def parse(words: list[str]) -> dict[str, Any]:
    """Parse the arguments of `edgegnn` as the command line does, and run nothing.

    Returns:
        The values of the command's parameters.

    Raises:
        An error of the command line's library: an unknown command or option, a missing or superfluous argument, or a
        value of the wrong type.
    """
    command = _root()
    context = command.make_context("edgegnn", list(words))
    while hasattr(command, "commands") and (rest := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return dict(context.params)


def help_examples(command: Any = None) -> list[str]:
    """Return the lines under "Examples:" in the help of every command."""
    command = command or _root()
    lines = [line.strip() for line in (command.help or "").splitlines()]
    below = [line for child in getattr(command, "commands", {}).values() for line in help_examples(child)]
    return [line for line in lines if line.startswith("edgegnn ")] + below


@cache
def _root() -> Any:
    return typer.main.get_command(app.app)


def run_page(page: Path, folder: Path, monkeypatch: Any, *, slow: bool) -> int:
    """Run a page's blocks in a folder, in order; any that fails raises.

    Args:
        page: the page.
        folder: where files are written; the current folder.
        monkeypatch: pytest's.
        slow: run the slow blocks, too.

    Returns:
        How many blocks ran to their end.
    """
    monkeypatch.syspath_prepend(folder)
    names: dict[str, Any] = {}
    count = 0
    for block in blocks(page):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.code, encoding="utf-8")
        elif block.how == "run" or (slow and block.how):
            _run(block, page, names, monkeypatch)
            count += 1
    return count


def _run(block: Block, page: Path, names: dict[str, Any], monkeypatch: Any) -> None:
    if block.language == "python":
        exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        return
    for words in command_lines(block):
        if words[0] == "edgegnn":
            _edgegnn(words, monkeypatch)
        else:
            assert words[0] == "python", f"only python and edgegnn are run: {words}"
            subprocess.run([sys.executable, *words[1:]], check=True, stdout=subprocess.DEVNULL)


def _edgegnn(words: list[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        start.main()
    assert end.value.code == 0, words
