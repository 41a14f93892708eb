"""Where the time goes, and how speed depends on batches, lengths and threads: short runs, one contender a time."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from typing import TYPE_CHECKING

from qa_onnx.bench.contender import Contender
from qa_onnx.errors import EngineError
from qa_onnx.squad import Gold

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qa_onnx.bench.scenarios import Plan, Runner

BATCH_TOKENS = (384, 768, 1536, 3072)  # 1, 2, 4 and 8 full windows
LENGTHS = (32, 64, 128, 256, 384)  # tokens of a window
_REPEATS = 3
_FULL_WINDOWS = 8
_QUESTION = "What is said of it here?"
_SPECIAL_AND_QUESTION = 10  # tokens of it, with the special ones


def split_stages(runners: Sequence[Runner], golds: Sequence[Gold], say: Callable[[str], None]) -> None:
    """Milliseconds a question of each stage, and the rate of the model alone: medians of passes."""
    for runner in runners:
        say(f"stages: {runner.entrant.name}")
        replies = [runner.ask(golds, do="stages") for _ in range(_REPEATS)]
        names = replies[0]["stages"]
        seconds = {name: statistics.median(reply["stages"][name] for reply in replies) for name in names}
        runner.outcome.stages = {name: 1000 * value / len(golds) for name, value in seconds.items()}
        runner.outcome.model_rate = len(golds) / seconds["model"]
        runner.outcome.padding = replies[0]["padding"]


def by_size(runners: Sequence[Runner], golds: Sequence[Gold], say: Callable[[str], None]) -> None:
    """Rates by the token budget of a batch, and by the length of a text that is asked about alone."""
    words = " ".join(gold.context for gold in golds).split()
    full = [_about(words, number, LENGTHS[-1]) for number in range(_FULL_WINDOWS)]
    for runner in runners:
        say(f"by batch: {runner.entrant.name}")
        for budget in BATCH_TOKENS:
            times = [sum(runner.ask(full, options={"batch_tokens": budget})["seconds"]) for _ in range(_REPEATS)]
            runner.outcome.by_batch_tokens[budget] = len(full) / statistics.median(times)
        say(f"by length: {runner.entrant.name}")
        for length in LENGTHS:
            texts = [_about(words, number, length) for number in range(_FULL_WINDOWS)]
            times = [time for _ in range(_REPEATS) for time in runner.ask(texts, alone=True)["seconds"]]
            runner.outcome.by_length[length] = 1 / statistics.median(times)


def _about(words: Sequence[str], number: int, tokens: int) -> Gold:
    """A question on a text whose window has about so many tokens, of which English has some 1.3 a word."""
    count = max(1, int((tokens - _SPECIAL_AND_QUESTION) / 1.35))
    start = number * count % max(1, len(words) - count)
    return Gold(str(number), _QUESTION, " ".join(words[start : start + count]), (), ())


def by_threads(runners: Sequence[Runner], plan: Plan, golds: Sequence[Gold], say: Callable[[str], None]) -> None:
    """Rates with fewer threads than planned, each in a process of its own, on a few questions."""
    few = golds[: max(4, len(golds) // 4)]
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64) if count < plan.threads]
    for runner in runners:
        times = [sum(runner.ask(few)["seconds"]) for _ in range(_REPEATS)]
        runner.outcome.by_threads[plan.threads] = len(few) / statistics.median(times)
        for count in counts:
            say(f"{count} threads: {runner.entrant.name}")
            cpus = frozenset(sorted(plan.cpus)[:count])
            pairs = [(gold.question, gold.context) for gold in few]
            request = {"pairs": pairs, "options": runner.entrant.options}
            with Contender(runner.entrant.name, runner.entrant.command(count), cpus=cpus) as contender:
                contender.ask(request)  # warm
                times = [sum(contender.ask(request)["seconds"]) for _ in range(_REPEATS)]
            runner.outcome.by_threads[count] = len(few) / statistics.median(times)


def gpu_megabytes(pid: int) -> float | None:
    """What a process has of a GPU's memory, as nvidia-smi tells; None where it does not."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=15, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"nvidia-smi cannot be asked for the memory in use: {error}") from error
    return used_memory(done.stdout, pid)


def used_memory(listed: str, pid: int) -> float | None:
    """The megabytes of a process in nvidia-smi's list, which has a line "pid, MiB" for each."""
    rows = (line.split(",") for line in listed.splitlines())
    used = [row[1].strip() for row in rows if len(row) == 2 and row[0].strip() == str(pid)]
    return sum(int(mebibytes) for mebibytes in used if mebibytes.isdigit()) * 2**20 / 1e6 if used else None
