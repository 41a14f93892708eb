"""Builds in real processes: killed at random moments, and beside processes that read."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qa_onnx.errors import QaOnnxError
from qa_onnx.retrieval import PassageIndex, build_index
from tests.retrieval.texts import make_documents
from tests.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.slow

_BUILD = """
import sys
from qa_onnx.retrieval import build_index
from tests.retrieval.texts import make_documents
print("ready", flush=True)
build_index(make_documents(40, seed=int(sys.argv[2])), sys.argv[1])
"""
QUESTION = "ban dust lom"
KILLS = 12


def start(folder: Path, seed: int) -> subprocess.Popen[str]:
    """Start a build that is about to begin."""
    process = subprocess.Popen(
        [sys.executable, "-c", _BUILD, str(folder), str(seed)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    assert process.wait(PATIENCE_S) == 0
    assert process.stdout is not None
    process.stdout.close()


def test_a_build_that_is_killed_leaves_the_old_index_or_the_new_one(tmp_path: Path) -> None:
    folder, chance = tmp_path / "index", random.Random(0)
    process = start(folder, 0)
    began = time.monotonic()
    end(process)
    whole_run = time.monotonic() - began
    expected = {seed: PassageIndex.of(make_documents(40, seed=seed)).search(QUESTION, 9) for seed in range(2)}
    current = 0
    for _ in range(KILLS):
        process = start(folder, 1 - current)
        time.sleep(chance.uniform(0.0, whole_run))
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        found = PassageIndex.open(folder).search(QUESTION, 9)
        assert found in expected.values()
        current = 0 if found == expected[0] else 1
    build_index(make_documents(40, seed=5), folder)
    assert sorted(path.name.partition("-")[0] for path in folder.iterdir()) == ["generation", "index.json"]
    assert PassageIndex.open(folder).search(QUESTION, 9) == PassageIndex.of(make_documents(40, seed=5)).search(
        QUESTION, 9
    )


def test_readers_open_and_ask_while_an_index_is_built_again_and_again(tmp_path: Path) -> None:
    build_index(make_documents(4, seed=0), tmp_path)
    expected = [PassageIndex.of(make_documents(4, seed=seed)).search(QUESTION, 9) for seed in range(3)]
    first = PassageIndex.open(tmp_path)
    over, opened, wrong = threading.Event(), [0], list[object]()

    def read() -> None:
        while not over.is_set():
            try:
                found = PassageIndex.open(tmp_path).search(QUESTION, 9)
            except QaOnnxError as error:
                wrong.append(error)
                return
            if found not in expected or first.search(QUESTION, 9) != expected[0]:
                wrong.append(found)
            opened[0] += 1

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(30):
            build_index(make_documents(4, seed=number % 3), tmp_path)
        eventually(lambda: opened[0] > 30 or wrong, "the readers opened the index")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_of_two_builds_one_is_refused_and_the_index_is_whole(tmp_path: Path) -> None:
    processes = [start(tmp_path, seed) for seed in (1, 2)]
    codes = [process.wait(PATIENCE_S) for process in processes]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert 0 in codes
    expected = [PassageIndex.of(make_documents(40, seed=seed)).search(QUESTION, 9) for seed in (1, 2)]
    assert PassageIndex.open(tmp_path).search(QUESTION, 9) in expected
