"""A reader in each of several processes, one core each: `python process_pool.py`.

For much text at once. In one process, `Reader.predict` uses all cores too; processes also share out what is not
the model: tokenizing and the search for spans.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from qa_onnx import Answer, Example, Reader

GROUP = 64
reader: Reader


def start() -> None:
    """Load the reader of this process."""
    global reader
    reader = Reader.load(threads=1)


def answer(examples: list[Example]) -> list[Answer]:
    """Runs in a process of the pool."""
    return [reader.choose(prediction) for prediction in reader.predict(examples)]


def answer_all(examples: Iterable[Example], processes: int) -> Iterator[Answer]:
    """Answers in the order of the examples."""
    source = iter(examples)
    groups = iter(lambda: list(islice(source, GROUP)), [])
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=start) as pool:
        for answers in pool.map(answer, groups):
            yield from answers


if __name__ == "__main__":
    context = (Path(__file__).parent / "lighthouse.txt").read_text(encoding="utf-8")
    questions = ["Who designed the tower?", "How far could the light be seen?"]
    for found in answer_all([Example(question, context) for question in questions], processes=2):
        print(found.text)
