"""Models as people write them, one file a case in `cases/`: each in float and in INT8, compared with eager PyTorch.

    python tests/gauntlet/test_cases.py [NAME ...]

runs the cases named (all, without a name) and prints a table: what became of the aggregations, the largest difference,
signal to noise, and the time of one graph against eager PyTorch.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.path[:0] = [str(Path(__file__).parents[1] / "support")]

from gauntlet_case import FLOAT_DIFFERENCE, Case, compare, export_c
from sweep import sweep

from edgegnn.errors import EdgeGNNError
from edgegnn.plain_c.compiler import find_compiler

NAMES = sorted(path.stem for path in (Path(__file__).parent / "cases").glob("*.py") if path.stem != "__init__")
# CI runs every other case, in its recipes by turns; --every runs all.
RECIPES = ("none", "static-int8", "dq-int8")
QUIET = ("ignore:Sparse invariant checks", "ignore:Sparse CSR")  # torch's own, once a process
RUNS = [(name, recipe) for name in NAMES for recipe in RECIPES]


def case_of(name: str) -> Case:
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        case: Case = importlib.import_module(f"cases.{name}").CASE
    finally:
        sys.path.pop(0)
    return case


@pytest.mark.slow
@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize(("name", "recipe"), sweep(RUNS, lambda i: i % 6 == i // 6 % 3))
def test_case(name: str, recipe: str, tmp_path: Path) -> None:
    case = case_of(name)
    if recipe not in case.recipes:
        refused = case.refused.get(recipe)
        if refused is None:
            pytest.skip("no labels to train with")
        with pytest.raises(EdgeGNNError, match=refused):
            compare(case, recipe, tmp_path)
        return
    found = compare(case, recipe, tmp_path)
    if recipe == "none":
        assert found.difference < FLOAT_DIFFERENCE
    else:
        assert found.decibels > case.decibels
    assert found.native >= case.native


# What has no C form -> the operator that has none.
WITHOUT_C = dict.fromkeys(("clusters_by_unique", "graph_unet", "undirected_inside"), "Unique")


@pytest.mark.slow
@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
@pytest.mark.parametrize("name", sweep(NAMES, lambda i: i % 7 == 2))
def test_c_form(name: str, tmp_path: Path) -> None:
    case = case_of(name)
    recipe = "static-int8" if "static-int8" in case.recipes else "none"
    if name in WITHOUT_C:
        with pytest.raises(EdgeGNNError, match=f"no C form yet for {WITHOUT_C[name]}"):
            export_c(case, recipe, tmp_path)
        return
    found = export_c(case, recipe, tmp_path)
    assert found.graphs > 0
    assert not found.unverified


def main() -> None:
    print(f"{'case':32}{'recipe':13}{'native':>7}{'difference':>12}{'dB':>7}{'against eager':>15}")
    for name in sys.argv[1:] or NAMES:
        case = case_of(name)
        for recipe in case.recipes:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found = compare(case, recipe, Path(folder))
                except EdgeGNNError as error:
                    print(f"{name:32}{recipe:13}refused: {str(error)[:200]}", flush=True)
                    continue
            print(
                f"{name:32}{recipe:13}{found.native:7}{found.difference:12.1e}{found.decibels:7.1f}{found.speedup:14.1f}x",
                flush=True,
            )


if __name__ == "__main__":
    main()
