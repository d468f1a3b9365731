"""What is wrong with a request is said before torch is imported, which takes seconds."""

import json
import subprocess
import sys

import pytest

# Arguments, the exit code, and what the line says.
CASES = [
    ("train gcm cora", 2, "did you mean gcn"),
    ("train gcn coraa", 2, "did you mean cora"),
    ("train gcn nothere.pt", 1, "there is no data file nothere.pt"),
    ("train gcn hetero:nope", 2, "hetero has no data set"),
    ("train gcn cora --quant dq-int9", 2, "did you mean dq-int8"),
    ("train gcn cora --quant static-int8", 2, "after training"),
    ("train gcn cora --task nodes", 2, "did you mean node"),
    ("train hgpsl cora --task node", 2, "hgpsl has no form for node tasks"),
    ("train gcn cora --metric acuracy", 2, "did you mean accuracy"),
    ("train gcn cora --split fold:x", 2, "unknown split"),
    ("train gcn cora --split-file gone.json", 2, "there is no such file"),
    ("train gcn cora --lr 0", 2, "lr must be above 0"),
    ("train gcn cora -o there.pt", 2, "--force"),
    ("export gone.pt", 1, "no such file: gone.pt"),
    ("export there.pt --quant dq-int9", 2, "did you mean dq-int8"),
    ("export there.pt --format onxx", 2, "unknown format"),
    ("export there.pt --target toaster", 2, "unknown target"),
    ("export there.pt --data coraa", 2, "did you mean cora"),
    ("export there.pt --task graph", 2, "--task says what --data is for"),
    ("export there.pt --factory models.py:build", 2, "write models:build"),
    ("export there.pt -o there.pt --force", 2, "not an artifact"),
    ("compress gone.pt --prune global --sparsity 0.5", 1, "no such file"),
    ("compress there.pt --prune globl --sparsity 0.5", 2, "unknown pruning method"),
    ("compress there.pt --prune global --sparsity 2", 2, "must lie in [0, 1)"),
    ("compress there.pt", 2, "nothing to do"),
    ("inspect gone.pt", 1, "no such file"),
    ("verify gone", 1, "gone"),
    ("profile gone", 1, "gone"),
    ("profile gone --target toaster", 2, "unknown target"),
    ("ship gone --target toaster", 2, "unknown target"),
    ("tune gone.pt", 1, "no such file"),
    ("tune there.pt --minimize weight", 2, "can't minimize"),
    ("tune there.pt --target toaster", 2, "unknown target"),
    ("report gone.toml", 2, "there is no gone.toml"),
    ("study run gone.toml", 2, "there is no gone.toml"),
    ("study run study.toml", 1, "did you mean dq-int8"),
    ("study table --format txt", 2, "unknown format"),
    ("quickstart --data cora", 2, "digits"),
]
EXTRAS = [
    ("tune there.pt", "optuna", "edgegnn tune needs optuna: pip install 'edgegnn[tune]'"),
    ("report there.pt", "jinja2", "a report needs jinja2: pip install 'edgegnn[report]'"),
    ("study run there.toml --ray auto", "ray", "--ray needs ray: pip install 'edgegnn[cluster]'"),
    ("train gcn molnet:BBBP", "rdkit", "molecules need rdkit: pip install 'edgegnn[molecules]'"),
]
PROGRAM = """
import contextlib, io, json, sys
from edgegnn.cli import start

def ask(words):
    sys.argv = ["edgegnn", *words.split()]
    err = io.StringIO()
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            start.main()
        except SystemExit as end:
            return end.code, err.getvalue(), "torch" in sys.modules

for words, module in json.loads(sys.argv[1]):
    if module:
        sys.modules[module] = None  # as if it were not installed
    print(json.dumps(ask(words)))
    sys.modules.pop(module, None) if module else None
"""


@pytest.fixture
def asked(tmp_path):
    """Ask in one process, in a folder with some files."""
    (tmp_path / "there.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "there.toml").write_text("")
    (tmp_path / "study.toml").write_text('quant = ["dq-int9"]\n[[case]]\nmodels = ["gcn"]\ndata = ["cora"]\n')

    def ask(requests):
        command = [sys.executable, "-c", PROGRAM, json.dumps(requests)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return ask


def test_a_wrong_request_is_answered_before_torch_is_imported(asked):
    for (words, code, said), (got, line, torch) in zip(CASES, asked([(w, "") for w, *_ in CASES]), strict=True):
        assert (got, said in line, torch) == (code, True, False), f"{words}: {line}"
        assert line.count("\n") == 1, words


def test_a_missing_package_is_named_before_torch_is_imported(asked):
    answers = asked([(words, module) for words, module, _ in EXTRAS])
    for (words, _, said), (code, line, torch) in zip(EXTRAS, answers, strict=True):
        assert (said in line, torch) == (True, False), f"{words}: {line}"
        assert code in (1, 2)
