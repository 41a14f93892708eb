"""Questions from a queue, answers to a queue, as with any message broker: `python asyncio_worker.py`.

Several consumers keep the reader's batches full; a question that fails is reported and the others go on.
"""

import asyncio
from pathlib import Path

from qa_onnx import Answer, AsyncReader, Example, QaOnnxError, Reader

CONSUMERS = 32


async def work(questions: asyncio.Queue[Example | None], answers: asyncio.Queue[tuple[str, Answer | str]]) -> None:
    """Answer what comes, until a None."""

    async def consume() -> None:
        while (example := await questions.get()) is not None:
            try:
                await answers.put((example.id, reader.choose(await reader.predict(example))))
            except QaOnnxError as error:
                await answers.put((example.id, str(error)))
        questions.put_nowait(None)  # for the next consumer

    async with AsyncReader(Reader.load()) as reader, asyncio.TaskGroup() as consumers:
        for _ in range(CONSUMERS):
            consumers.create_task(consume())


async def main() -> None:
    """Ask about the lighthouse."""
    context = (Path(__file__).parent / "lighthouse.txt").read_text(encoding="utf-8")
    questions: asyncio.Queue[Example | None] = asyncio.Queue()
    answers: asyncio.Queue[tuple[str, Answer | str]] = asyncio.Queue()
    for number, question in enumerate(["Who designed the tower?", "How far could the light be seen?"]):
        questions.put_nowait(Example(question, context, id=str(number)))
    questions.put_nowait(None)
    await work(questions, answers)
    while not answers.empty():
        number, answer = answers.get_nowait()
        print(number, answer.text if isinstance(answer, Answer) else answer)


if __name__ == "__main__":
    asyncio.run(main())
