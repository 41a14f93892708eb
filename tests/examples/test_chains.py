"""The examples of frameworks that chain retrievers and models."""

from __future__ import annotations

import pytest

from tests.examples.hosted import EXAMPLES, run

pytestmark = pytest.mark.slow

LIGHTHOUSE = (EXAMPLES / "lighthouse.txt").read_text(encoding="utf-8")

CHAIN = """
from operator import itemgetter
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_reader import find_in_text, reading

boat = Document("The boat is blue and the sail is white.", metadata={"source": "boat", "page": 3})
retriever = RunnableLambda(lambda question: [Document(""), boat])
chain = RunnablePassthrough.assign(documents=itemgetter("question") | retriever) | reading
questions = [{"question": "What colour is the boat?"}] * 4
for found in chain.batch(questions):
    best = found[0]
    place = boat.page_content[best.metadata["start"] : best.metadata["end"]]
    print(best.page_content, place, best.metadata["source"], best.metadata["page"])
import asyncio
print(asyncio.run(chain.ainvoke(questions[0]))[0].page_content)
print(reading.invoke({"question": "Who?", "documents": [Document("")]}), len(chain.invoke(questions[0])) <= 3)
print(find_in_text.invoke({"question": "What colour is the boat?", "text": boat.page_content}), find_in_text.name)
"""


def test_langchain_reader() -> None:
    pytest.importorskip("langchain_core", reason="needs langchain-core")
    start = LIGHTHOUSE.index("Agnes Halloran")
    assert run("langchain_reader.py") == f"Agnes Halloran lighthouse {start}\n"
    assert run("-c", CHAIN).splitlines() == ["blue blue boat 3"] * 4 + ["blue", "[] True", "blue find_in_text"]


ENGINE = """
import asyncio
from llamaindex_engine import Everything, QuoteEngine
from qa_onnx import Reader

engine = QuoteEngine(retriever=Everything(["", "The boat is blue and the sail is white."]), reader=Reader.load())
found = engine.query("What colour is the boat?")
[node] = found.source_nodes
place = found.metadata[node.node_id]
print(found, node.text[place["start"] : place["end"]], asyncio.run(engine.aquery("What colour is the boat?")))
nothing = QuoteEngine(retriever=Everything(["", " "]), reader=Reader.load()).query("Who?")
print(nothing.response, nothing.source_nodes)
"""


def test_llamaindex_engine() -> None:
    pytest.importorskip("llama_index.core", reason="needs llama-index-core")
    assert run("llamaindex_engine.py") == "Agnes Halloran\n"
    assert run("-c", ENGINE).splitlines() == ["blue blue blue", "None []"]
