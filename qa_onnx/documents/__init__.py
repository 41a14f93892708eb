"""Files of many kinds -> texts, and where in them an answer stands.

May import: errors, machine, data, tokens, regex. Left out: which documents are worth reading (retrieval), and
reading them.
"""

from qa_onnx.documents.document import PAGE_BREAK, PAGE_END, Document, Origin
from qa_onnx.documents.finding import find_documents
from qa_onnx.documents.limits import Limits
from qa_onnx.documents.reading import DocumentReader, read_document, read_document_bytes

__all__ = [
    "PAGE_BREAK",
    "PAGE_END",
    "Document",
    "DocumentReader",
    "Limits",
    "Origin",
    "find_documents",
    "read_document",
    "read_document_bytes",
]
