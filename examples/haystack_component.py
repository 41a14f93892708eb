"""A reader for pipelines of Haystack 2 and 3: `pipeline.add_component("reader", OnnxReader())`."""

from haystack import Document, ExtractedAnswer, component

from qa_onnx import Example, Reader


@component
class OnnxReader:
    """Extracts answers from documents.

    Args:
        bundle: folder of an exported model; None: the default one.
        top_k: answers over all documents.
    """

    def __init__(self, bundle: str | None = None, top_k: int = 5) -> None:
        self.bundle = bundle
        self.top_k = top_k
        self._reader: Reader | None = None

    def warm_up(self) -> None:
        """Load the model."""
        self._reader = self._reader or Reader.load(self.bundle)

    @component.output_types(answers=list[ExtractedAnswer])
    def run(self, query: str, documents: list[Document]) -> dict[str, list[ExtractedAnswer]]:
        """Answers, best first by `meta["score"]`, which compares documents; `score` is the share in its own."""
        self.warm_up()
        predictions = self._reader.predict([Example(query, document.content or "") for document in documents])
        found = [
            ExtractedAnswer(
                query=query,
                score=answer.probability,
                data=answer.text,
                document=document,
                document_offset=ExtractedAnswer.Span(answer.start, answer.end),
                meta={"score": answer.score},
            )
            for document, prediction in zip(documents, predictions, strict=True)
            for answer in prediction.answers
        ]
        return {"answers": sorted(found, key=lambda answer: -answer.meta["score"])[: self.top_k]}
