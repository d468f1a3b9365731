"""Headless Chromium for tests that look at a page."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

SECONDS = 60  # a page takes one to three
ATTEMPTS = 3


def browse(page: Path, *flags: str) -> tuple[str, str]:
    """Open a page in a new browser and give what it wrote: standard output and standard error.

    Chromium itself hangs now and then on a busy machine before it has loaded anything. It is started again then, with
    a new profile; only a page that hangs every time is a failure.
    """
    assert BROWSER is not None
    for attempt in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            command = [BROWSER, *FLAGS, *flags, f"--user-data-dir={profile}", page.as_uri()]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
            )
            try:
                out, err = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its helpers hold the pipes, too
                out, err = process.communicate()
                if attempt + 1 == ATTEMPTS:
                    raise
                continue
        assert process.returncode == 0, err
        return out, err
    raise AssertionError("unreachable")
