"""A query engine of LlamaIndex that responds with quotes, without a language model: `llamaindex_engine.py`."""

from pathlib import Path
from typing import Any

from llama_index.core.base.response.schema import Response
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from qa_onnx import Example, Reader


class QuoteEngine(CustomQueryEngine):
    """Answers from the nodes that a retriever finds.

    Args:
        retriever: finds them.
        reader: answers from their texts; any number of threads may share it.
    """

    retriever: BaseRetriever
    reader: Any

    def custom_query(self, query_str: str) -> Response:
        """Return the best answer with its node, and its place in the node's text as metadata."""
        nodes = self.retriever.retrieve(QueryBundle(query_str))
        examples = [Example(query_str, node.get_content()) for node in nodes]
        answers = [
            (answer.score - prediction.null_score, node, answer)  # compares nodes
            for node, prediction in zip(nodes, self.reader.predict(examples), strict=True)
            for answer in prediction.answers[:1]
            if answer.score > prediction.null_score
        ]
        if not answers:
            return Response(None)
        _, node, answer = max(answers, key=lambda one: one[0])
        return Response(answer.text, source_nodes=[node], metadata={node.node_id: answer.to_dict()})


class Everything(BaseRetriever):
    """Stands for your own retriever: it finds all nodes."""

    def __init__(self, texts: list[str]) -> None:
        self._nodes = [NodeWithScore(node=TextNode(text=text)) for text in texts]
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._nodes


if __name__ == "__main__":
    lighthouse = (Path(__file__).parent / "lighthouse.txt").read_text(encoding="utf-8")
    engine = QuoteEngine(retriever=Everything(["The boat is blue.", lighthouse]), reader=Reader.load())
    print(engine.query("Who designed the tower?"))
