"""A fresh interpreter, to see what importing, ending or forking does."""

from __future__ import annotations

import os
import subprocess
import sys


def printed(code: str, *arguments: object, **environment: str) -> str:
    """What an interpreter prints that runs the code with warnings as errors; it must end well and say no more."""
    command = [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", code]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout
