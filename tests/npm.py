"""Packages of npm, for tests that skip where no registry has them."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S = 300
_NOT_TO_BE_HAD = r"ENOTFOUND|ECONN|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ERR_SOCKET_TIMEOUT|E40[347]|E5\d\d"


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, to its end."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def npm(*arguments: str, folder: Path) -> None:
    """Install packages in a folder; skip, with the reason, where npm is not on the PATH or cannot fetch them."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} on the PATH")
    installed = run("npm", *arguments, "--fetch-retries=1", "--fetch-timeout=60000", folder=folder)
    if installed.returncode and (reason := re.search(_NOT_TO_BE_HAD, installed.stderr)):
        pytest.skip(f"needs a registry of npm that has these packages: {reason[0]}")
    assert installed.returncode == 0, installed.stderr
