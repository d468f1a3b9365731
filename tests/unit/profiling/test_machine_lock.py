"""Who may work on this machine beside whom."""

from __future__ import annotations

import fcntl
import multiprocessing

import pytest

from edgegnn.profiling import machine_lock
from edgegnn.profiling.machine_lock import lock_path, settle, turn


def test_trainings_run_beside_each_other_and_a_measurement_alone(tmp_path):
    lock, told = tmp_path / "lock", []
    measuring = turn(lock, measuring="x86", seconds=0.0)
    with turn(lock), turn(lock), pytest.raises(TimeoutError, match="at work on this machine"), measuring:
        pass
    with turn(lock, measuring="x86"):
        for other in (None, "x86", "emulated-pi"):
            with (
                pytest.raises(TimeoutError),
                turn(lock, measuring=other, status=told.append, seconds=0.3),
            ):
                pass
    assert told == ["waiting for others at work on this machine"] * 3
    with turn(lock, measuring="x86", seconds=0.0):
        pass


def test_another_machine_is_measured_beside_trainings(tmp_path):
    lock = tmp_path / "lock"
    with turn(lock), turn(lock, measuring="rpi", seconds=0.0), turn(lock, measuring="rpi", seconds=0.0):
        pass


def test_a_turn_ends_with_its_holder(tmp_path):
    lock = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), turn(lock, measuring="x86"):
        raise ZeroDivisionError
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(lock,))
    process.start()
    process.join()
    with turn(lock, measuring="x86", seconds=0.0):
        pass


def _hold(lock):
    import os

    with turn(lock, measuring="x86"):
        os._exit(1)


def test_waiting_ends_when_the_other_does(tmp_path):
    path, told = tmp_path / "lock", []
    held = path.open("w")
    fcntl.flock(held, fcntl.LOCK_EX)

    def status(text: str) -> None:
        told.append(text)
        held.close()

    with turn(path, status=status):
        assert len(told) == 1


def test_the_lock_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert lock_path() == tmp_path / "edgegnn" / "study.lock"


def test_measurements_wait_for_the_load_of_what_was_before(monkeypatch):
    loads, told = iter([2.0, 1.0, 0.4]), []
    monkeypatch.setattr(machine_lock.os, "getloadavg", lambda: (next(loads), 0.0, 0.0))
    settle("x86", 60.0, told.append)
    assert told == ["waiting for the machine to settle"]
    assert list(loads) == []
    monkeypatch.setattr(machine_lock.os, "getloadavg", lambda: (9.0, 0.0, 0.0))
    settle("x86", 0.3)  # but not for ever
    settle("rpi", 60.0)  # and not for another machine
