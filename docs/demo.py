"""Make docs/demo/quickstart.html, the quickstart's model in the reader's browser: `python docs/demo.py`.

It needs a compiler for WebAssembly and Node.js.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parent / "demo/quickstart.html"
GRAPHS = 24
COMMANDS = (
    "edgegnn quickstart -o out",
    f"edgegnn export out/model.pt --quant dq-int8 --format web --max-nodes 64 --max-edges 512 --samples {GRAPHS} "
    "-o quickstart",
)


def main() -> None:
    """Run the commands, and take the page."""
    path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            words = [sys.executable, "-m", *command.split()]
            subprocess.run(words, cwd=folder, env={**os.environ, "PYTHONPATH": path}, check=True)
        PAGE.parent.mkdir(exist_ok=True)
        shutil.copyfile(Path(folder, "quickstart/web/index.html"), PAGE)


if __name__ == "__main__":
    main()
