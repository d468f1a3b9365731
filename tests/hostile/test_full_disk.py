"""A full disk, or a limit on the size of files, costs no training and is one line."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import EDGEGNN, files, run

from edgegnn.checkpoint import load_checkpoint
from edgegnn.errors import CheckpointError, ExportError, UsageError
from edgegnn.runtime import verify
from edgegnn.utils import files as files_module
from edgegnn.utils.files import check_room, replacing, saved

TRAIN = ["train", "gcn", "data.pt", "--hidden", "256", "--epochs", "2", "-o"]


@pytest.fixture
def spare(tmp_path, monkeypatch):
    """Where results are kept instead."""
    place = tmp_path / "spare"
    place.mkdir()
    monkeypatch.setattr(files_module.tempfile, "tempdir", str(place))
    return place


def full(folder):
    """Writes, but finds no room in a folder and below."""

    def write(path):
        path.write_text("half")
        if folder in path.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_text("all of it")
        return path

    return write


def test_kept_in_another_place_and_named(tmp_path, spare):
    with pytest.raises(CheckpointError, match="No space left on device; it is kept as ") as error:
        saved(tmp_path / "here" / "model.pt", full(tmp_path / "here"), force=False, error=CheckpointError)
    kept = Path(str(error.value).rpartition(" ")[2])
    assert spare in kept.parents
    assert (kept.name, kept.read_text()) == ("model.pt", "all of it")
    assert files(tmp_path / "here") == []


def test_no_place_takes_it(tmp_path, spare, monkeypatch):
    monkeypatch.setattr(files_module, "user_cache_path", lambda _: tmp_path / "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ExportError, match="no other place took it either"):
        saved(tmp_path / "here" / "a", full(tmp_path), force=False, error=ExportError)
    assert [name for name in files(tmp_path) if name.endswith(("a", "tmp"))] == []


def test_a_mistake_in_writing_is_no_full_disk(tmp_path, spare):
    with pytest.raises(RuntimeError, match="file"):
        saved(tmp_path / "a", lambda _: (_ for _ in ()).throw(RuntimeError("file")), force=False, error=ExportError)
    assert files(spare) == []


def test_a_device_is_not_replaced():
    with pytest.raises(UsageError, match="is a device"), replacing(Path("/dev/null"), force=True, error=ExportError):
        pass


def test_room_is_looked_for_before_training(tmp_path, monkeypatch):
    check_room(tmp_path / "none" / "model.pt", 1000)
    with pytest.raises(UsageError, match="are free there: make room"):
        check_room(tmp_path / "none" / "model.pt", 2**60)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, 4096))
    with pytest.raises(UsageError, match="no file may have more than 4096"):
        check_room(tmp_path / "model.pt", 5000)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [2000, 15_000])
def test_a_limit_on_the_size_of_files(work, limit):
    """The small limit is seen before training. The other is larger than the tensors, and smaller than the file."""
    before = files(work)
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
    done = subprocess.run(
        [sys.executable, "-B", "-c", code + EDGEGNN[2], *TRAIN, "limited.pt"], cwd=work, capture_output=True, text=True
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("edgegnn: ")]
    assert len(lines) == 1
    assert "a bug" not in done.stderr
    assert "Traceback" not in done.stderr
    assert files(work) == before
    if limit == 2000:
        assert (done.returncode, "no file may have more than 2000" in lines[0]) == (2, True)
    else:
        assert (done.returncode, "can't write limited.pt: File too large" in lines[0]) == (1, True)


@pytest.fixture
def small_disk(tmp_path):
    """A disk with room for a page or two."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", place], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.slow
def test_train_and_export_on_a_full_disk(work, spare, small_disk, capsys, monkeypatch):
    for args in ([*TRAIN, str(small_disk / "m.pt")], ["export", "model.pt", "-o", str(small_disk / "a")]):
        code, _, err = run(capsys, monkeypatch, *args)
        assert code == 1
        assert "No space left on device; it is kept as " in err
        kept = Path(err.split()[-1])
        assert load_checkpoint(kept).metrics if kept.suffix == ".pt" else verify(kept).ok
        assert files(small_disk) == []
