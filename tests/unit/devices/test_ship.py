"""Ship artifacts to a device, go back, and make a device ready."""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from loopback_sshd import Loopback
from tiny_artifact import change_samples, make_artifact, seal

import edgegnn
from edgegnn.cli import start
from edgegnn.devices import load_target
from edgegnn.devices.connection import at
from edgegnn.devices.readiness import pins
from edgegnn.devices.setup import _pip, remember, setup
from edgegnn.devices.ship import installed, rollback, ship
from edgegnn.devices.transport import ssh
from edgegnn.errors import ArtifactError, TargetError, UsageError
from edgegnn.runtime import open_artifact

pytestmark = pytest.mark.slow  # each starts an SSH server and waits for what goes wrong


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifacts") / "tiny")


@pytest.fixture
def artifact(pristine: Path, board: Loopback, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


def change(artifact: Path, note: str) -> None:
    seal(artifact, note=note)


def test_ship_and_ship_again(board: Loopback, artifact: Path) -> None:
    target = load_target("board")
    first = ship(artifact, target)
    current = Path(first.folder)
    assert current.is_symlink()
    assert open_artifact(current).manifest.name == "tiny"
    assert (first.changed, first.verified, len(first.versions)) == (True, 4, 1)
    again = edgegnn.ship("tiny", "board")
    assert (again.changed, again.current) == (False, first.current)
    assert again.sent_bytes < 10_000
    assert board.leftovers() == []


def test_only_what_changed_travels(board: Loopback, artifact: Path) -> None:
    (artifact / "more.bin").write_bytes(os.urandom(500_000))
    seal(artifact)
    target = load_target("board")
    assert ship(artifact, target).sent_bytes > 500_000
    change(artifact, "new")
    second = ship(artifact, target)
    assert second.sent_bytes < 30_000
    assert [v[:5] for v in second.versions] == ["0001-", "0002-"]


@pytest.fixture
def unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes a proof on the device for done, where only versions matter."""
    monkeypatch.setattr("edgegnn.devices.ship._prove", lambda *_: 4)


@pytest.mark.usefixtures("unproven")
def test_the_way_back(board: Loopback, artifact: Path) -> None:
    target = load_target("board")
    one = ship(artifact, target).current
    with pytest.raises(TargetError, match="no earlier version of tiny"):
        rollback("tiny", target)
    change(artifact, "two")
    two = ship(artifact, target).current
    change(artifact, "three")
    three = ship(artifact, target).current
    assert rollback("tiny", target).current == two
    assert rollback("tiny", target).current == one
    with pytest.raises(TargetError, match="no earlier version"):
        rollback("tiny", target)
    assert [entry.current for entry in installed(target)] == [one]
    # What is there already moves up, and isn't there twice.
    last = ship(artifact, target)
    assert last.current == f"0004-{three.split('-')[1]}"
    assert last.versions == (one, two, last.current)
    with pytest.raises(TargetError, match="no earlier version of other"):
        rollback("other", target)


@pytest.mark.usefixtures("unproven")
def test_old_versions_go(board: Loopback, artifact: Path) -> None:
    target = load_target("board")
    for note in ("a", "b", "c", "d"):
        change(artifact, note)
        made = ship(artifact, target, keep=2)
    assert [v[:4] for v in made.versions] == ["0003", "0004"]


def test_one_that_does_not_hold_there_is_not_used(board: Loopback, artifact: Path) -> None:
    target = load_target("board")
    before = ship(artifact, target)
    change_samples(artifact, lambda a: a.update({"0000.expected": a["0000.expected"] + 1}))
    with pytest.raises(TargetError, match=r"^board: tiny is not installed, it fails there: the artifact doesn't hold"):
        ship(artifact, target)
    assert [entry.current for entry in installed(target)] == [before.current]
    assert board.leftovers() == []
    (artifact / "model.onnx").write_bytes(b"no")
    with pytest.raises(ArtifactError, match="has been changed"):
        ship(artifact, target)


def test_cut_while_shipping(board: Loopback, artifact: Path) -> None:
    target = load_target("board")
    before = ship(artifact, target)
    change(artifact, "new")

    def cut(text: str) -> None:
        if text == "proving it there":
            board.cut()

    with pytest.raises(TargetError, match="the connection was lost"):
        ship(artifact, target, tell=cut)
    # The folder of the new version is removed by the next call; nothing uses it before.
    after = ship(artifact, target)
    assert after.versions[0] == before.current
    assert len(after.versions) == 2
    assert board.leftovers() == []


def test_kernels_for_the_device_are_put_beside_the_runner(
    board: Loopback, artifact: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "libedgegnn_ops-any.so"
    library.write_bytes(b"kernels")
    monkeypatch.setattr("edgegnn.devices.ship.library_for", lambda *_: library)
    made = ship(artifact, load_target("board"))
    there = open_artifact(made.folder)  # the manifest lists it
    assert (there.folder / "native" / library.name).read_bytes() == b"kernels"
    assert not ship(artifact, load_target("board")).changed


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["edgegnn", *arguments])
    with pytest.raises(SystemExit) as stop:
        start.main()
    return int(stop.value.code or 0)


def test_commands(
    board: Loopback, artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "ship", "--target", "board", "--list") == 0
    assert "nothing was shipped to board yet" in capsys.readouterr().out
    assert run(monkeypatch, "ship", "--target", "board") == 0
    assert "tiny on board is now version 0001-" in capsys.readouterr().out
    change(artifact, "new")
    assert run(monkeypatch, "ship", "tiny", "--target", "board", "--json") == 0
    assert json.loads(capsys.readouterr().out)["changed"] is True
    assert run(monkeypatch, "ship", "--rollback", "tiny", "--target", "board") == 0
    assert "edgegnn ship --rollback tiny --target board" in capsys.readouterr().out
    assert run(monkeypatch, "ship", "--target", "board", "--list", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["current"].startswith("0001-")
    for wrong in (
        ["tiny"],
        ["--rollback", "--target", "board"],
        ["tiny", "--target", "local"],
        ["tiny", "--target", "no"],
    ):
        assert run(monkeypatch, "ship", *wrong) == 2
    assert run(monkeypatch, "ship", "--target", "board", "--list", "--rollback", "tiny") == 2


# -- setup ------------------------------------------------------------------------------------------------------------


def test_setup_where_all_is_there(
    board: Loopback, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    board.target(host="nowhere.invalid", port=1, threads=3)
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "edgegnn" / "targets" / "board.toml"
    path.write_text("# mine\n" + path.read_text())
    for _ in range(2):
        options = ["--host", "127.0.0.1", "--port", str(board.port), "--json"]
        assert run(monkeypatch, "targets", "setup", "board", *options) == 0
        values = json.loads(capsys.readouterr().out)
        assert (values["changed"], values["file"]) == (False, str(path))
        text = path.read_text()
        assert text.startswith("# mine\n")
        assert [line.split(" = ")[0] for line in text.splitlines()].count("host") == 1
        assert [line.split(" = ")[0] for line in text.splitlines()].count("port") == 1
        assert (load_target("board").host, load_target("board").threads) == ("127.0.0.1", 3)
    assert run(monkeypatch, "targets", "check", "board") == 0
    assert board.leftovers() == []


def test_address_is_remembered_where_the_target_is_read(board: Loopback, tmp_path: Path) -> None:
    place = remember(at(load_target("rpi"), host="pi@10.0.0.9", port=2222))
    assert place == Path(os.environ["XDG_CONFIG_HOME"]) / "edgegnn" / "targets" / "rpi.toml"
    assert (load_target("rpi").host, load_target("rpi").user, load_target("rpi").port) == ("10.0.0.9", "pi", 2222)
    Path("targets").mkdir()
    own = Path("targets/rpi.toml")
    own.write_text('description = "x"\narch = "aarch64"\ntransport = "ssh"\nport = 5\n')
    assert remember(at(load_target("rpi"), host="there", identity="ke y")) == own
    again = load_target("rpi")
    assert (again.host, again.port, again.identity) == ("there", 5, str(tmp_path / "ke y"))
    assert remember(load_target("local")) is None


def wheel(folder: Path, name: str, version: str, code: str) -> None:
    """A wheel with one module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


@pytest.mark.slow
def test_setup_from_a_wheelhouse(board: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without network, packages and pip: a virtual environment with the wheels that travelled there."""
    # The device's python3 is one that sees no packages and no pip of its own; setup may make a venv of it.
    bare = board.python(
        "bare",
        """
        import sysconfig
        from importlib import metadata
        real, path = metadata.distributions, sysconfig.get_path
        metadata.distributions = lambda **k: real(**k) if k else []
        sysconfig.get_path = lambda *a, **k: "/nowhere" if a == ("stdlib",) and not k else path(*a, **k)
        """,
    )
    monkeypatch.setattr("edgegnn.devices.connection.open_device", with_python(bare))
    target = board.target(python="")
    runtime, numpy = pins("{}.{}.{}".format(*sys.version_info[:3]))
    house = Path("house")
    wheel(house, "numpy", numpy, f"__version__ = '{numpy}'")
    with pytest.raises(TargetError, match=r"the wheels are not all that is needed: .*onnxruntime.*pip download"):
        setup(target, wheelhouse=house)
    assert not (board.root / "venv").exists()
    wheel(house, "onnxruntime", runtime, f"__version__ = '{runtime}'")
    (house / "other-1.0-cp311-cp311-manylinux_2_28_riscv64.whl").write_bytes(b"never sent")
    made = setup(target, wheelhouse=house)
    assert (made.changed, made.python) == (True, str(board.root / "venv/bin/python"))
    assert made.versions == f"numpy {numpy} onnxruntime {runtime}"
    assert not setup(target, wheelhouse=house).changed
    assert not setup(target).changed
    wheel(house, "onnxruntime", "1.20.1", "import os; os.kill(os.getpid(), 4)")
    with pytest.raises(TargetError, match=r"onnxruntime 1\.20\.1 uses instructions that the CPU"):
        setup(target, wheelhouse=house, onnxruntime="1.20.1")
    assert board.leftovers() == []


def with_python(python: str):  # type: ignore[no-untyped-def]
    """`open_device` for a device whose python3 is this one."""
    from edgegnn.devices.transport import open_device

    def opened(address, **options):  # type: ignore[no-untyped-def]
        return open_device(address, **{**options, "python": options["python"] or python})

    return opened


def test_setup_of_a_python_of_ones_own(board: Loopback) -> None:
    bare = board.python("bare", "from importlib import metadata; metadata.distributions = lambda **k: []")
    with pytest.raises(TargetError, match="its file names a Python of your own"):
        setup(board.target(python=bare))


def test_wrong_requests(board: Loopback, tmp_path: Path) -> None:
    target = load_target("board")
    with pytest.raises(UsageError, match="there is no folder"):
        setup(target, wheelhouse=tmp_path / "nothing")
    with pytest.raises(UsageError, match="there is no wheel for"):
        setup(target, wheelhouse=tmp_path)
    with pytest.raises(UsageError, match="is no version"):
        setup(target, onnxruntime="1.20; rm -rf /")
    with pytest.raises(TargetError, match="nobody has said where it is"):
        setup(load_target("rpi"))


def test_our_pip_runs_from_its_wheel(tmp_path: Path) -> None:
    (tmp_path / "pip.whl").write_bytes(_pip())
    assert zipfile.ZipFile(tmp_path / "pip.whl").testzip() is None
    assert "pip/__main__.py" in zipfile.ZipFile(tmp_path / "pip.whl").namelist()


def test_first_contact_fits_into_a_command_line() -> None:
    assert len(ssh.remote_command("python3", "0" * 64)) < 2000
