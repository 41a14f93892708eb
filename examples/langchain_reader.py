"""Answers that are quotes, in chains of LangChain: `python langchain_reader.py`.

`read` takes what a retriever found, so a chain is
`RunnablePassthrough.assign(documents=itemgetter("question") | retriever) | reading`. Many threads may run it.
"""

from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from qa_onnx import Example, Reader

TOP_K = 3
reader = Reader.load()


def read(found: dict[str, Any]) -> list[Document]:
    """Return the best answers of {"question", "documents"} with their places; none where no document answers."""
    documents: list[Document] = found["documents"]
    examples = [Example(found["question"], document.page_content) for document in documents]
    answers = [
        (answer.score - prediction.null_score, document, answer)  # compares documents
        for document, prediction in zip(documents, reader.predict(examples), strict=True)
        for answer in prediction.answers
        if answer.score > prediction.null_score
    ]
    return [
        Document(answer.text, metadata={**document.metadata, **answer.to_dict(), "above_no_answer": above})
        for above, document, answer in sorted(answers, key=lambda one: -one[0])[:TOP_K]
    ]


reading = RunnableLambda(read)


@tool
def find_in_text(question: str, text: str) -> str:
    """Find the words of a text that answer a question, word for word; "" where it does not answer it."""
    return reader.ask(question, text).text  # an agent gets a quote, and no paraphrase


if __name__ == "__main__":
    lighthouse = (Path(__file__).parent / "lighthouse.txt").read_text(encoding="utf-8")
    documents = [
        Document("The boat is blue.", metadata={"source": "boat"}),
        Document(lighthouse, metadata={"source": "lighthouse"}),
    ]
    best = reading.invoke({"question": "Who designed the tower?", "documents": documents})[0]
    print(best.page_content, best.metadata["source"], best.metadata["start"])
