"""A question and many documents -> the passages that are worth reading -> answers on one scale.

    documents --passages.py, terms.py, scoring.py--> content.py --build.py, storage.py--> a folder
    a folder  --storage.py, checks.py--> content.py
    question  --index.py, candidates.py--> passages --ask.py, ask_all.py, reading.py--> answers
    claim     --support_parts.py--> questions --index.py, support.py--> supported, differs or not found

May import: the files of the root, machine, documents, data. Needs bm25s (extra `search`). Left out: files of other
kinds (documents), and what is shown of answers (cli).
"""

from qa_onnx.retrieval.ask import ask_documents
from qa_onnx.retrieval.ask_all import ask_all
from qa_onnx.retrieval.build import IndexReport, build_index
from qa_onnx.retrieval.content import LazyDocument
from qa_onnx.retrieval.document_answers import DocumentAnswer, DocumentAnswers
from qa_onnx.retrieval.index import Passage, PassageIndex
from qa_onnx.retrieval.support import PartAnswer, Support, support

__all__ = [
    "DocumentAnswer",
    "DocumentAnswers",
    "IndexReport",
    "LazyDocument",
    "PartAnswer",
    "Passage",
    "PassageIndex",
    "Support",
    "ask_all",
    "ask_documents",
    "build_index",
    "support",
]
