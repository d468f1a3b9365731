"""What the README and docs/ show: commands parse, files are read, marked blocks run, and the site builds."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from document_blocks import PAGES, ROOT, blocks, command_lines, help_examples, parse, run_page

RUN = [page for page in PAGES if any(b.how == "run" for b in blocks(page))]
RUN_SLOWLY = [page for page in PAGES if any(b.how == "run: slow" for b in blocks(page))]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_commands_are_those_of_the_command_line() -> None:
    from edgegnn.devices.target import load_target
    from edgegnn.quantize import recipe

    count = 0
    for page in PAGES:
        shown = [b for b in blocks(page) if b.language in {"bash", "yaml"}]
        for words in (w for block in shown for w in command_lines(block) if w[0] == "edgegnn"):
            try:
                values = parse(words[1:])
            except Exception as error:
                raise AssertionError(f"{name(page)}: {' '.join(words)}: {error}") from error
            count += 1
            quant, targets = values.get("quant"), values.get("target") or values.get("targets") or []
            if isinstance(quant, str) and not quant.endswith(".json"):
                recipe(quant)
            for target in [targets] if isinstance(targets, str) else targets:
                load_target(target)
    assert count > 60


def test_examples_in_help_parse() -> None:
    examples = help_examples()
    assert len(examples) > 20
    commands = [command for line in examples for command in line.split(" && ")]
    unparsed = []
    for command in commands:
        try:
            parse(shlex.split(command)[1:])
        except Exception as error:
            unparsed.append(f"{command}: {error}")
    assert unparsed == []


def test_a_wrong_command_is_found() -> None:
    for line in ("export --quantt dq-int8 model.pt", "exprt model.pt", "export", "train gcn cora --epochs many"):
        with pytest.raises(Exception, match=r"No such|Missing|Invalid|valid"):
            parse(line.split())


def test_scripts_and_modules_are_there() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for script in re.findall(r"(?<![\w/.-])((?:benchmarks|edgegnn|examples|tests|docs)/[\w./-]*\w)", text):
            assert (ROOT / script).exists(), f"{name(page)}: {script}"
        for module in re.findall(r"python -m (edgegnn[\w.]*)", text):
            assert importlib.util.find_spec(module), f"{name(page)}: {module}"


def test_every_package_is_on_the_architecture_page() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    packages = [p.parent.name for p in (ROOT / "edgegnn").glob("*/__init__.py")]
    assert len(packages) > 10
    assert [p for p in packages if f"`{p}/`" not in text] == []


def test_every_python_block_is_run_or_a_file() -> None:
    for page in PAGES:
        for block in blocks(page):
            assert block.language != "python" or block.how or block.title, f"{name(page)}: {block.code[:60]}"


@pytest.mark.parametrize("page", RUN, ids=name)
def test_page(page: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_page(page, work, monkeypatch, slow=False) == sum(block.how == "run" for block in blocks(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_SLOWLY, ids=name)
def test_slow_page(page: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_page(page, work, monkeypatch, slow=True) == sum(block.how != "" for block in blocks(page))


def test_files_are_read(tmp_path: Path) -> None:
    """Target files, study files and recipes that pages show."""
    from edgegnn.devices.target import read_target
    from edgegnn.quantize import recipe
    from edgegnn.studies.config import read_study

    readers = {"targets": read_target, "study": read_study, ".json": lambda path: recipe(str(path))}
    count = 0
    for page in PAGES:
        for block in blocks(page):
            for mark, read in readers.items():
                if block.title and mark in block.title:
                    path = tmp_path / Path(block.title).name
                    path.write_text(block.code)
                    read(path)
                    count += 1
    assert count >= 3


def test_recipes_in_the_table_are_the_recipes() -> None:
    from edgegnn.quantize.recipe import RECIPES, shown_name

    table = (ROOT / "docs/guides/quantization.md").read_text().partition("## Which recipe")[2].partition("\n## ")[0]
    rows = "".join(re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE))
    assert set(re.findall(r"`([a-z0-9][a-z0-9-]+)`", rows)) == set(map(shown_name, RECIPES))
