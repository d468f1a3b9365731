"""The wheel edgegnn-runtime: installed beside numpy and onnxruntime, and nothing else, it runs an artifact."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_artifact import make_artifact

from edgegnn.native import installed

ROOT = Path(__file__).parents[2]
PROGRAM = """
import importlib.util, sys
import numpy as np
from edgegnn import runtime
from edgegnn.runtime.native import find_library

model = runtime.open(sys.argv[1])
for sample in model.samples():
    np.testing.assert_allclose(model(**sample.inputs), sample.expected, atol=1e-4)
print(runtime.__file__)
print(find_library())
print(importlib.util.find_spec("torch"), importlib.util.find_spec("msgspec"))
import edgegnn
print("export" in dir(edgegnn), "runtime" in dir(edgegnn))
try:
    from edgegnn import export
except ImportError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(installed() is None, reason="the wheel holds kernels, and this installation has none")
def test_a_device_with_numpy_and_onnxruntime_installs_it(tmp_path: Path) -> None:
    site, dist = tmp_path / "site", tmp_path / "dist"
    build = [sys.executable, str(ROOT / "packaging/runtime/build.py"), "--output", str(dist)]
    (wheel,) = subprocess.run(build, check=True, capture_output=True, text=True).stdout.splitlines()[-1:]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), wheel]
    subprocess.run(pip, check=True)
    for name in ("numpy", "onnxruntime"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent
        for each in (folder, folder.with_name(f"{name}.libs")):
            if each.is_dir():
                (site / each.name).symlink_to(each)
    artifact = make_artifact(tmp_path / "tiny")
    # -S: no site-packages; -I: neither PYTHONPATH nor this folder.
    start = f"import sys; sys.path.insert(0, {str(site)!r}); sys.argv[1:] = [{str(artifact)!r}]\n"
    command = [sys.executable, "-I", "-S", "-c", start + PROGRAM]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    package, library, others, listed, refusal = done.stdout.splitlines()
    assert Path(package).is_relative_to(site)
    assert Path(library).is_relative_to(site / "edgegnn/native")
    assert others == "None None"
    assert listed == "False True"
    assert refusal == "edgegnn.export is not part of edgegnn-runtime, which only runs artifacts: pip install edgegnn"
