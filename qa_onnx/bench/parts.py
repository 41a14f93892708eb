"""Measure in short runs where the time goes, and how speed depends on batches, lengths and threads."""

from __future__ import annotations

import statistics
import subprocess
from typing import TYPE_CHECKING, Any

from qa_onnx.bench.process import ContenderProcess
from qa_onnx.bench.runners import FOR_PARTS, TURN, alternate
from qa_onnx.data.squad import Gold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qa_onnx.bench.runners import Clock, Plan, Runner

BATCH_TOKENS = (384, 768, 1536, 3072)  # 1, 2, 4 and 8 full windows
LENGTHS = (32, 64, 128, 256, 384)  # tokens of a window
_PASSES = 2  # over the questions, to time the stages
_TEXTS = TURN  # texts of each length; they fill the largest of the batches
_REPEATS = (2, 7)  # fewest and most
_FEW_SECONDS = 1.0  # with all threads; decides the number of questions for fewer threads
_QUESTION = "What is said of it here?"
_SPECIAL_AND_QUESTION = 10  # tokens of the question and special tokens


def measure(runners: Sequence[Runner], golds: Sequence[Gold], plan: Plan, clock: Clock) -> None:
    """Fill the outcomes of runners of this project's reader: stages, and what is not left out by `Plan.quick`."""
    _split_stages(runners, golds, clock)
    if runners and not plan.quick:
        _by_size(runners, golds, clock)
        _by_threads(runners, golds, plan, clock)


def _split_stages(runners: Sequence[Runner], golds: Sequence[Gold], clock: Clock) -> None:
    """Measure each stage's share of the time, as milliseconds a question at the rate of the offline scenario.

    The rate of the model alone follows from its share, so both can be compared with the rate.
    """
    replies: dict[Runner, list[dict[str, Any]]] = {runner: [] for runner in runners}
    for number in range(_PASSES):
        clock.say(f"stages, pass {number + 1} of {_PASSES}")
        for runner, reply in alternate(runners, golds, number, do="stages"):
            replies[runner].append(reply)
    for runner, passes in replies.items():
        outcome = runner.outcome
        seconds = {name: sum(reply["stages"][name] for reply in passes) for name in passes[0]["stages"]}
        tokens = sum(reply["tokens"] for reply in passes)
        outcome.padding = sum(reply["padding"] * reply["tokens"] for reply in passes) / tokens
        assert outcome.rate is not None  # the offline scenario comes first
        whole = sum(seconds.values())
        outcome.stages = {name: 1000 * value / whole / outcome.rate for name, value in seconds.items()}
        outcome.model_rate = outcome.rate * whole / seconds["model"]


def _by_size(runners: Sequence[Runner], golds: Sequence[Gold], clock: Clock) -> None:
    """Measure rates by the token budget of a batch, and by the length of a text with one question a call."""
    words = " ".join(gold.context for gold in golds).split()
    texts = {length: [_about(words, number, length) for number in range(_TEXTS)] for length in LENGTHS}
    full = texts[LENGTHS[-1]][:1] * _TEXTS  # of one length, or they would not fill the batches
    once = sum(sum(runner.ask(full)["seconds"]) for runner in runners)
    once *= len(BATCH_TOKENS) + sum(LENGTHS) / LENGTHS[-1]
    repeats = max(_REPEATS[0], min(_REPEATS[1], int(FOR_PARTS * clock.measuring / once)))
    for budget in BATCH_TOKENS:
        clock.say(f"batches of {budget} tokens")
        for runner, times in _repeated(runners, repeats, full, options={"batch_tokens": budget}):
            runner.outcome.by_batch_tokens[budget] = len(full) / statistics.median(times)
    for length, cut in texts.items():
        clock.say(f"texts of {length} tokens")
        for runner, times in _repeated(runners, repeats, cut, alone=True):
            runner.outcome.by_length[length] = 1 / statistics.median(times)


def _repeated(
    runners: Sequence[Runner], repeats: int, golds: Sequence[Gold], **request: Any
) -> Iterator[tuple[Runner, list[float]]]:
    """Yield each runner with the seconds of its calls."""
    times: dict[Runner, list[float]] = {runner: [] for runner in runners}
    for number in range(repeats):
        for runner, reply in alternate(runners, golds, number, **request):
            times[runner] += reply["seconds"]
    yield from times.items()


def _about(words: Sequence[str], number: int, tokens: int) -> Gold:
    """Return a question on a text whose window has about so many tokens; English has some 1.3 a word."""
    count = max(1, int((tokens - _SPECIAL_AND_QUESTION) / 1.35))
    start = number * count % max(1, len(words) - count)
    return Gold(str(number), _QUESTION, " ".join(words[start : start + count]), (), ())


def _by_threads(runners: Sequence[Runner], golds: Sequence[Gold], plan: Plan, clock: Clock) -> None:
    """Measure rates with fewer threads than planned, each in a process of its own, on a few questions."""
    fewer = [count for count in (1, 2, 4, 8, 16, 32, 64) if count < plan.threads]
    for runner in runners:
        contender, rates = runner.contender, runner.outcome.by_threads
        clock.say(f"by threads: {contender.name}")
        few = golds[: max(4, int(_FEW_SECONDS * (runner.outcome.rate or 0)))]
        pairs = [(gold.question, gold.context) for gold in few]
        rates[plan.threads] = runner.process.rate(pairs, contender.options)
        for count in fewer:
            cpus = frozenset(sorted(plan.cpus)[:count])
            with ContenderProcess(contender.name, contender.command(count), cpus=cpus) as process:
                rates[count] = process.rate(pairs, contender.options)


def gpu_megabytes(pid: int) -> float | None:
    """Return the GPU memory of a process as nvidia-smi reports it; None if it does not."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=15, check=True)
    except (OSError, subprocess.SubprocessError):
        return None  # a driver that does not answer must not cost the measurements
    rows = (line.split(", ") for line in done.stdout.splitlines())
    used = [int(mebibytes) for number, mebibytes in rows if number == str(pid) and mebibytes.isdigit()]
    return sum(used) * 2**20 / 1e6 if used else None
