"""A program in examples/ as a process of its own, as a user starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}  # this checkout, and not an installed one
BOAT = {"question": "What colour is the boat?", "context": "The boat is blue and the sail is white."}


def run(*command: str) -> str:
    """What a command of this Python prints in examples/."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=EXAMPLES,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def hosted(*command: str, **environment: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    """A server in examples/, whose command has {fd} for the number of its socket, and a client for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, number = listener.getsockname()[1], listener.fileno()
        process = subprocess.Popen(
            [sys.executable, *(word.format(fd=number) for word in command)],
            cwd=EXAMPLES,
            env={**ENVIRONMENT, **environment},
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[number],
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False) as client:
            yield client, process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
