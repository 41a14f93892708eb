"""What a contender says over its pipes: from a process that imports the protocol alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qa_onnx.bench import protocol

# In place of the time that the protocol takes: it goes on only while somebody sleeps.
CLOCK = """
import protocol
class Clock:
    now = 0.0
    def perf_counter(self):
        return self.now
    def sleep(self, seconds):
        self.now += seconds
protocol.time = clock = Clock()
"""
# As other projects' environments run it: from its file, without qa_onnx. It answers with the first word.
ANSWERER = f"""
import sys
sys.path.append(sys.argv[1])
{CLOCK}
from protocol import own_stdout, serve
out = own_stdout()
print("noise of a library")
def answer(pairs, shout=False):
    if any(not context for _, context in pairs):
        raise ValueError("a context is empty")
    answers = [context.split()[0] for _, context in pairs]
    calls.append(len(pairs))
    clock.sleep(0.5)
    return [answer.upper() for answer in answers] if shout else answers
calls = []
def before():
    calls.append("before")
serve(out, answer, facts={{"version": "1"}}, before=before, calls=lambda request: {{"calls": calls}})
"""
PAIRS = [["Who?", "Ida came."], ["Who?", "Bo left."], ["Who?", "Cy stayed."]]


@pytest.fixture(scope="module")
def replies() -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = [
        {"pairs": PAIRS},
        {"pairs": PAIRS, "alone": True, "options": {"shout": True}},
        {"pairs": [["Who?", ""]]},
        {"pairs": PAIRS, "arrivals": [0.0, 2.0, 2.0], "most": 8},
        {"pairs": PAIRS, "arrivals": [0.0, 0.0, 0.0], "most": 2},
        {"do": "calls"},
    ]
    done = subprocess.run(
        [sys.executable, "-S", "-c", ANSWERER, str(Path(protocol.__file__).parent)],
        input="".join(f"{json.dumps(request)}\n" for request in requests),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "noise of a library\n"
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_says_first_that_it_is_ready(replies: list[dict[str, Any]]) -> None:
    assert replies[0] == {"ready": True, "version": "1"}


def test_all_in_one_call_or_one_call_each(replies: list[dict[str, Any]]) -> None:
    assert replies[1]["answers"] == ["Ida", "Bo", "Cy"]
    assert replies[1]["seconds"] == [0.5]
    assert replies[2]["answers"] == ["IDA", "BO", "CY"]
    assert replies[2]["seconds"] == [0.5] * 3


def test_a_failure_is_said_and_the_next_request_answered(replies: list[dict[str, Any]]) -> None:
    assert replies[3] == {"error": "ValueError: a context is empty"}
    assert "answers" in replies[4]


def test_questions_are_asked_when_they_come_and_share_a_call_where_they_wait(
    replies: list[dict[str, Any]],
) -> None:
    assert replies[4]["answers"] == replies[5]["answers"] == ["Ida", "Bo", "Cy"]
    assert replies[4]["latencies"] == [0.5, 0.5, 0.5]
    assert replies[5]["latencies"] == [0.5, 0.5, 1.0]
    alone = ["before", 1, "before", 1, "before", 1]
    assert replies[6]["calls"] == ["before", 3, *alone, "before", "before", 1, 2, "before", 2, 1, "before"]
