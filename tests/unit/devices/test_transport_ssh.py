"""Connections that don't come about: each says what is wrong and what to do, soon."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from loopback_sshd import Loopback

from edgegnn.devices import Target, load_target
from edgegnn.devices.connection import address_of, at, connect
from edgegnn.devices.transport.ssh import Address, connection_error, remote_command, ssh_command
from edgegnn.errors import TargetError, UsageError


def fails(target: Target) -> str:
    with pytest.raises(TargetError) as error, connect(target, connect_seconds=3):
        pass
    text = str(error.value)
    assert text.startswith("board: ")
    assert "\n" not in text
    return text


def test_unknown_host(board: Loopback) -> None:
    assert "the host nowhere.invalid is unknown" in fails(board.target(host="nowhere.invalid"))


def test_closed_port(board: Loopback) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    assert f"refuses connections to port {port}" in fails(board.target(port=port))


def test_host_that_says_nothing(board: Loopback) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        assert "127.0.0.1 doesn't answer: is it on" in fails(board.target(port=s.getsockname()[1]))


def test_refused_key(board: Loopback) -> None:
    text = fails(board.target(identity=str(board.folder / "other_id")))
    assert "doesn't accept your key" in text
    assert f"ssh-copy-id -i {board.folder / 'other_id'} -p {board.port} " in text
    with connect(board.target()) as device:
        assert device.bits == 64


def test_changed_host_key(board: Loopback) -> None:
    board.know(board.folder / "other_host.pub")
    text = fails(load_target("board"))
    assert "the host key of 127.0.0.1 has changed" in text
    assert f"ssh-keygen -R '[127.0.0.1]:{board.port}'" in text
    board.know(board.folder / "host.pub")
    with connect(load_target("board")) as device:
        assert device.bits == 64


def test_unknown_host_key_is_not_accepted(board: Loopback) -> None:
    board.known_hosts.write_text("")
    assert "is not known yet: log in once and compare its fingerprint: ssh -p" in fails(load_target("board"))
    assert board.known_hosts.read_text() == ""


def test_key_that_others_can_read(board: Loopback, tmp_path: Path) -> None:
    key = Path(shutil.copy(board.key, tmp_path / "loose"))
    key.chmod(0o644)
    assert f"chmod 600 {key}" in fails(board.target(identity=str(key)))


def test_key_that_is_none(board: Loopback, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no private key .*--identity"), connect(board.target(identity="no")):
        pass
    key = tmp_path / "key"
    key.write_text("not a key\n")
    key.chmod(0o600)
    fails(board.target(identity=str(key)))


def test_no_ssh_here(board: Loopback, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match=r"there is no ssh here: install OpenSSH"), connect(load_target("board")):
        pass


@pytest.mark.parametrize("host", ["-oProxyCommand=id", "", "a b", "pi@", "@", "x;id", "--"])
def test_hosts_that_are_none(board: Loopback, host: str) -> None:
    with pytest.raises((UsageError, TargetError)):
        at(load_target("board"), host=host)


def test_address_on_the_command_line(board: Loopback, tmp_path: Path) -> None:
    key = tmp_path / "key"
    target = at(board.target(user="someone", known_hosts=""), host="pi@10.0.0.1", port=2222, identity=key)
    assert address_of(target) == Address("board", "10.0.0.1", 2222, "pi", key)
    assert address_of(at(target, host="raspberry.local")).user == "pi"
    with pytest.raises(UsageError, match="--port must be"):
        at(target, port=70000)
    for local in ("local", "x86"):
        with pytest.raises(UsageError, match="is not one"):
            at(load_target(local), host="pi")
    with pytest.raises(TargetError, match=r"edgegnn targets setup rpi --host user@host"):
        address_of(load_target("rpi"))


def test_user_in_the_host_and_paths_beside_the_file(board: Loopback) -> None:
    target = board.target(host="pi@alias", user="", identity="keys/pi", known_hosts="~/known", port=0)
    address = address_of(target)
    assert (address.host, address.user, address.port) == ("alias", "pi", None)
    assert address.identity is not None
    assert address.identity.parts[-3:] == ("targets", "keys", "pi")
    assert address.known_hosts == Path.home() / "known"


def test_what_ssh_makes_of_the_options(board: Loopback, tmp_path: Path) -> None:
    """`ssh -G` prints what it would do: nobody is asked, nothing is forwarded, spaces in paths are no problem."""
    key = tmp_path / "my key"
    key.write_text("")
    address = Address("a", "somewhere", 2222, "pi", key, tmp_path / "known hosts")
    command = ssh_command(address, "true")
    done = subprocess.run([command[0], "-G", *command[2:]], capture_output=True, text=True, check=True)
    options = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert (options["user"], options["port"], options["hostname"]) == ("pi", "2222", "somewhere")
    assert options["batchmode"] == options["identitiesonly"] == options["clearallforwardings"] == "yes"
    assert options["forwardagent"] == "no"
    assert options["identityfile"] == str(key)
    assert options["stricthostkeychecking"] != "false"


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "fish", "csh", "tcsh"])
def test_login_shells_can_read_the_command(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    remote = remote_command("/no/such/python 3", "0" * 64)
    done = subprocess.run([shell, "-c", remote], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert "edgegnn-hello " in done.stdout
    assert done.returncode == 127


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        ("", "ssh gave no reason"),
        ("Warning: Permanently added 'x' to the list\nkex_exchange_identification: Connection reset", "kex_exchange"),
        ("ssh: connect to host x port 22: No route to host", "doesn't answer"),
        ('Load key "k": error in libcrypto\nx: Permission denied (publickey).', "can't be read"),
        ("pi@x: Permission denied (publickey,password).", "ssh-copy-id pi@x"),
        ("No ED25519 host key is known for x and you have requested strict checking.", "not known yet"),
    ],
)
def test_what_ssh_says(stderr: str, words: str) -> None:
    assert words in str(connection_error(Address("t", "x", None, "pi"), stderr))
