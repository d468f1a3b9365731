"""Executed instructions of one inference on emulated Arm processors: GCN 2x128 on Cora, ours against the plain export.

    python benchmarks/instructions.py                       # about 4 minutes, 60 MB downloaded
    python benchmarks/instructions.py --root FOLDER         # keeps what was downloaded and built

A Cortex-A72 (Raspberry Pi 4) and A76 (Pi 5, with the byte dot product) are emulated by qemu-user; a plugin counts what
they execute. The count hardly moves from run to run, which no time does; but it knows no caches and no pipeline, so it
is no latency. One thread. Outputs are compared with those of eager PyTorch on this machine.

Needs a Debian x86-64 machine with `apt-get install qemu-user g++-aarch64-linux-gnu cmake gcc`; nothing is installed by
this script. The arm64 Python comes from Debian's packages, unpacked into the folder, onnxruntime's wheel from pip.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import model_peers as peers
import numpy as np
import onnxruntime
from common import environment, write
from model_cases import CASES, artifact_name, load_inputs, logits, prepare
from tables import Goal, goals_table, table, times
from workers import Row, finder, ratio, say

HERE = Path(__file__).parent
NATIVE = HERE.parent / "edgegnn" / "native"
TOOLS = ("qemu-aarch64", "aarch64-linux-gnu-g++", "cmake", "gcc", "apt-get", "dpkg-deb", "setarch")
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
# part, and what the processor tells onnxruntime of itself: it would read this machine's /proc/cpuinfo otherwise
CPUS = {
    "cortex-a72": ("0xd08", "fp asimd evtstrm crc32 cpuid"),
    "cortex-a76": (
        "0xd0b",
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc asimddp",
    ),
}
PLAIN = "plain export"
CONTENDERS = {  # name -> file in the prepared folder, with our library
    PLAIN: ("plain.onnx", False),
    "quantize_static": ("static.onnx", False),
    "ours fp32": (f"{artifact_name('fp32', False)}/model.onnx", True),
    "ours INT8": (f"{artifact_name('int8', False)}/model.onnx", True),
    "ours INT8, constant": (f"{artifact_name('int8', True)}/model.onnx", True),
    "ours INT8, stock": (f"{artifact_name('int8', False)}/model.onnx", False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[c.name for c in CASES.values() if not c.each], default="gcn-cora")
    parser.add_argument("--cpus", nargs="+", choices=CPUS, default=list(CPUS))
    parser.add_argument("--root", type=Path, help="folder for the arm64 files, kept; default: a temporary one")
    parser.add_argument("--files", type=Path, help="as of models.py")
    args = parser.parse_args()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sys.exit(
            f"skipped: needs {', '.join(missing)} (Debian: apt-get install qemu-user g++-aarch64-linux-gnu cmake gcc)"
        )
    with (
        nullcontext(args.root) if args.root else tempfile.TemporaryDirectory(prefix="edgegnn-arm64-") as root,
        nullcontext(args.files) if args.files else tempfile.TemporaryDirectory(prefix="edgegnn-benchmark-") as files,
    ):
        target = Target(Path(root).absolute())
        folder = Path(files).absolute() / args.case
        prepare(CASES[args.case], folder)
        rows = [count(target, folder, args.case, cpu, name) for cpu in args.cpus for name in CONTENDERS]
    found = goals(rows)
    shown = [[r["cpu"], r["contender"], *_shown(r, rows)] for r in rows]
    print(
        table(
            ["processor", "contender", "million instructions", "of plain export", "largest difference"], shown, left=2
        )
    )
    print(f"\n{goals_table(found)}")
    content = {"environment": environment(), "case": args.case, "goals": [vars(g) for g in found], "rows": rows}
    print(f"\nwritten to {write('instructions', content)}")


def goals(rows: list[Row]) -> list[Goal]:
    """At most a fifth of the plain export's instructions."""
    find = finder(rows, "instructions")
    return [
        Goal(f"{cpu}: {name}", PLAIN, ratio(find(cpu=cpu, contender=PLAIN), find(cpu=cpu, contender=name)), 5)
        for cpu in dict.fromkeys(r["cpu"] for r in rows)
        for name in ("ours INT8", "ours INT8, constant")
    ]


def _shown(row: Row, rows: list[Row]) -> list[str]:
    if "missing" in row:
        return ["", row["missing"][:60], ""]
    plain = finder(rows, "instructions")(cpu=row["cpu"], contender=PLAIN)
    return [
        f"{row['instructions'] / 1e6:,.1f}",
        times(ratio(row["instructions"], plain)),
        f"{row['max_abs_error']:.2g}",
    ]


def count(target: Target, folder: Path, case: str, cpu: str, name: str) -> Row:
    """Instructions of one inference of one contender on one processor."""
    file, native = CONTENDERS[name]
    row: Row = {"case": case, "cpu": cpu, "contender": name}
    model = folder / file
    if not model.exists():
        return row | {"missing": f"{file} was not made"}
    inputs = load_inputs(folder)[0]
    arrays = folder / "inputs.npz"
    if not arrays.exists():
        np.savez(arrays, allow_pickle=False, **peers.as_numpy(inputs))
    with tempfile.TemporaryDirectory(prefix="edgegnn-arm64-") as out:
        result = Path(out) / "logits.npy"
        library = str(target.library()) if native else "-"
        try:
            marks = target.run(cpu, HERE / "instructions_guest.py", str(model), str(arrays), library, str(result))
        except RuntimeError as error:
            say(f"{cpu}, {name}: {error}")
            return row | {"missing": str(error)}
        counts = [end - start for start, end in zip(marks[::2], marks[1::2], strict=True)]
        want = logits(folder / ("int8.pt" if "INT8" in name else "float.pt"), [inputs])[0]
        error_ = float(np.abs(np.load(result) - want).max())
    say(f"{cpu}, {name}: {counts} instructions, off by {error_:.3g}")
    return row | {"instructions": counts[-1], "runs": counts, "max_abs_error": error_}


class Target:
    """An arm64 userland in a folder, run program by program under qemu-user.

    Args:
        root: the folder; what is in it already is used again.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.system = root, root / "system"
        root.mkdir(parents=True, exist_ok=True)
        if not (root / "complete").exists():
            self._unpack()
            self._install()
            (root / "complete").touch()
        self.plugin = root / "instructions.so"
        _do(["gcc", "-O2", "-shared", "-fPIC", "-o", str(self.plugin), str(HERE / "instructions.c")])
        self.python = next(p for p in sorted((self.system / "usr/bin").glob("python3.*")) if p.name[8:].isdigit())

    def run(self, cpu: str, *arguments: object) -> list[int]:
        """Run a Python program; the instructions executed at each of its marks.

        Raises:
            RuntimeError: it fails.
        """
        part, features = CPUS[cpu]
        lines = [f"Features\t: {features}", "CPU implementer\t: 0x41", "CPU architecture: 8"]
        lines = ["processor\t: 0", "BogoMIPS\t: 108.00", *lines, f"CPU part\t: {part}", ""]
        _write(self.system / "proc/cpuinfo", "\n".join(lines) + "\n")
        for name in ("possible", "present", "online"):
            _write(self.system / "sys/devices/system/cpu" / name, "0\n")
        guest = {"PYTHONHOME": self.system / "usr", "PYTHONPATH": self.root / "packages", "PYTHONHASHSEED": 0}
        command = ["setarch", "-R", "qemu-aarch64", "-cpu", cpu, "-plugin", str(self.plugin), "-L", str(self.system)]
        for key, value in {**guest, "PYTHONDONTWRITEBYTECODE": 1}.items():
            command += ["-E", f"{key}={value}"]
        done = subprocess.run(
            [*command, str(self.python), *map(str, arguments)],
            capture_output=True,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GLIBC", "OMP", "LD_"))},
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [""]
            raise RuntimeError(f"the program ended with code {done.returncode} on {cpu}: {lines[-1][:300]}")
        return [int(line.split()[2]) for line in done.stderr.splitlines() if line.startswith("mark ")]

    def library(self) -> Path:
        """Our native library, cross-compiled."""
        build = self.root / "native"
        options = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_BUILD_TYPE=Release"]
        options += ["-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++", "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc"]
        _do(["cmake", "-S", str(NATIVE), "-B", str(build), *options])
        _do(["cmake", "--build", str(build)])
        return build / "libedgegnn_ops-aarch64.so"

    def _unpack(self) -> None:
        """Debian's Python for arm64, unpacked: apt, with a state of its own, resolves, checks and fetches."""
        say("fetching Python for arm64 from Debian")
        state = self.root / "apt"
        for folder in ("state/lists/partial", "cache/archives/partial", "empty"):
            (state / folder).mkdir(parents=True, exist_ok=True)
        _write(state / "state/status", "")
        sources = Path("/etc/apt/sources.list.d/debian.sources")
        settings = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Debug::NoLocking": "1",
            "Dir::State": state / "state",
            "Dir::State::status": state / "state/status",
            "Dir::Cache": state / "cache",
            "Dir::Etc::sourcelist": sources if sources.exists() else "/etc/apt/sources.list",
            "Dir::Etc::sourceparts": state / "empty",
            "Dir::Etc::parts": state / "empty",
            "Dir::Etc::preferencesparts": state / "empty",
        }
        hooks = ("APT::Update::Post-Invoke-Success", "APT::Update::Post-Invoke", "DPkg::Post-Invoke")
        lines = [f'{key} "{value}";' for key, value in settings.items()] + [f"#clear {hook};" for hook in hooks]
        _write(state / "conf", "\n".join(lines) + "\n")
        environment_ = {**os.environ, "APT_CONFIG": str(state / "conf")}
        _do(["apt-get", "-qq", "update"], environment_)
        _do(["apt-get", "-qq", "-y", "--download-only", "install", *PACKAGES], environment_)
        shutil.rmtree(self.system, ignore_errors=True)
        for folder in ("bin", "sbin", "lib"):
            (self.system / "usr" / folder).mkdir(parents=True, exist_ok=True)
            (self.system / folder).symlink_to(f"usr/{folder}")
        for package in sorted((state / "cache/archives").glob("*.deb")):
            tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], capture_output=True, check=True).stdout
            unpack = ["tar", "-x", "-C", str(self.system), "--no-same-owner", "--keep-directory-symlink"]
            subprocess.run([*unpack, "--exclude=./usr/share/doc/*", "--exclude=./dev/*"], input=tar, check=True)
        shutil.rmtree(state)

    def _install(self) -> None:
        """The wheels: this machine's pip picks those for arm64."""
        say("fetching onnxruntime for arm64")
        python = next(p.name[6:] for p in sorted((self.system / "usr/bin").glob("python3.*")) if p.name[8:].isdigit())
        platforms = [f"--platform={p}_aarch64" for p in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
        target = ["--target", str(self.root / "packages"), f"--python-version={python}", "--implementation=cp"]
        wheels = ["--only-binary=:all:", f"onnxruntime=={onnxruntime.__version__}", f"numpy=={np.__version__}"]
        _do([sys.executable, "-m", "pip", "install", "-q", "--no-compile", *target, *platforms, *wheels])


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def _do(command: Sequence[str], environment_: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment_)
    if done.returncode:
        sys.exit(f"{' '.join(command[:4])} ... failed: {done.stderr.strip()[-500:]}")


if __name__ == "__main__":
    main()
