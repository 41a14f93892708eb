"""What is done with an input: each target hands it to the public API as its user would.

A target is a context manager on a folder of its own. `run` returns, or raises a QaOnnxError; whatever else it
raises is a finding, also a BrokenPromiseError, which says that a result is not what is promised of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import socket
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qa_onnx import Bundle, Example, Options, QaOnnxError, Reader
from qa_onnx.bundle.files import MANIFEST
from qa_onnx.bundle.packed import pack
from qa_onnx.documents import DocumentReader, Limits
from qa_onnx.evaluation import golden
from qa_onnx.export.texts import PARITY_EXAMPLES
from tests.fuzz.mutation import change_bytes, change_json, change_lines, change_message

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from types import TracebackType
    from typing import Self

    from tests.served import Served

TINY = Path(__file__).parents[1] / "data" / "tiny-bert"
INFER = "/v2/models/tiny-bert/infer"
QUESTION, CONTEXT = "Who keeps the bees?", "Élodie keeps the bees on the roof; nobody else may. 🏔️ " * 3


COLUMNS = {
    "inputs": [
        {"name": "question", "shape": [2], "datatype": "BYTES", "data": [QUESTION, "Who?"]},
        {"name": "context", "shape": [2, 1], "datatype": "BYTES", "data": [[CONTEXT], ["Élodie."]]},
    ],
    "outputs": [{"name": "text", "parameters": {"binary_data": True}}, {"name": "end"}],
    "parameters": {"offset_unit": "utf8", "null_threshold": 0.5, "binary_data_output": False},
    "id": "1",
}


class BrokenPromiseError(Exception):
    """A result that is not what is promised of it."""


def expect(promise: str, *, kept: bool) -> None:
    """Raise a BrokenPromiseError unless a promise was kept."""
    if not kept:
        raise BrokenPromiseError(promise)


class Target:
    """One kind of input.

    Args:
        folder: for its files; removed at the end.

    Attributes:
        changes: that are made to inputs.
        accepts_seeds: whether unchanged seeds are accepted, which is checked at the beginning.
        seeds: inputs to start from.
    """

    changes: ClassVar[tuple[Callable[[Random, bytes], bytes], ...]] = (change_json, change_bytes)
    accepts_seeds: ClassVar[bool] = True
    seeds: list[bytes]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exits = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.set_up()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.exits.close()

    def set_up(self) -> None:
        """Make the seeds, and what `run` needs."""
        raise NotImplementedError

    def run(self, data: bytes) -> None:
        """Use an input."""
        raise NotImplementedError


def use(reader: Reader) -> None:
    """Ask a reader, and check what is promised of an answer."""
    for example in (Example(QUESTION, CONTEXT), Example("?", "\u0301"), Example("", " ")):
        check_answers(reader, example)


def check_answers(reader: Reader, example: Example, options: Options | None = None) -> None:
    """Check what is promised of the answers to one question."""
    [prediction] = reader.predict([example], options=options)
    for answer in prediction.answers:
        inside = 0 <= answer.start < answer.end <= len(example.context)
        expect("an answer is a part of its context", kept=inside)
        expect("its text is that part", kept=answer.text == example.context[answer.start : answer.end])
        expect("a probability is from 0 to 1", kept=0 <= answer.probability <= 1)
    scores = [answer.score for answer in prediction.answers]
    expect("answers are in the order of their scores", kept=scores == sorted(scores, reverse=True))


class BundleTarget(Target):
    """Inputs that take the place of a file of the tiny bundle; its manifest is made to fit."""

    kind: ClassVar[str]  # the beginning of the file's name

    def set_up(self) -> None:
        """See `Target`."""
        self.bundle = Path(shutil.copytree(TINY, self.folder / "bundle"))
        self.manifest = (self.bundle / MANIFEST).read_bytes()
        content = Bundle.load(self.bundle).manifest
        graph = content.graphs["fp32"]
        entry = {"model": graph.file, "golden": graph.golden, "tokenizer": content.tokenizer}[self.kind]
        self.old = entry
        self.seeds = [(self.bundle / entry.name).read_bytes()]

    def run(self, data: bytes) -> None:
        """Load the bundle with the input as one of its files, and ask it."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.bundle / f"{self.kind}-{digest[:16]}{Path(self.old.name).suffix}"
        path.write_bytes(data)
        manifest = json.loads(self.manifest)
        entry = {"name": path.name, "size": len(data), "sha256": digest}
        parts = [manifest, *manifest["graphs"].values()]
        for part in parts:
            for name, value in part.items():
                if isinstance(value, dict) and value.get("name") == self.old.name:
                    part[name] = entry
        (self.bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        try:
            self.use(Bundle.load(self.bundle))
        finally:
            if path.name != self.old.name:
                path.unlink()

    def use(self, bundle: Bundle) -> None:
        """Use the bundle."""
        use(Reader.load(bundle, precision="fp32", threads=1))


class Onnx(BundleTarget):
    """The graph."""

    kind = "model"
    changes = (change_message, change_message, change_bytes)


class TokenizerJson(BundleTarget):
    """tokenizer.json."""

    kind = "tokenizer"


class Golden(BundleTarget):
    """The golden examples."""

    kind = "golden"

    def use(self, bundle: Bundle) -> None:
        """See `BundleTarget`."""
        reader = Reader.load(bundle, precision="fp32", threads=1)
        golden.check(reader, bundle.text(bundle.graph("fp32").golden), "fp32")


class ManifestJson(Target):
    """bundle.json."""

    def set_up(self) -> None:
        """See `Target`."""
        self.bundle = Path(shutil.copytree(TINY, self.folder / "bundle"))
        self.seeds = [(self.bundle / MANIFEST).read_bytes()]

    def run(self, data: bytes) -> None:
        """See `Target`."""
        (self.bundle / MANIFEST).write_bytes(data)
        use(Reader.load(self.bundle, precision="fp32", threads=1))


class SignatureJson(Target):
    """bundle.sig: no change of it may pass for a signature of something else."""

    def set_up(self) -> None:
        """See `Target`."""
        from qa_onnx.bundle import signature

        self.bundle = Path(shutil.copytree(TINY, self.folder / "bundle"))
        private, self.public, _ = signature.make_keys(self.folder / "key")
        signature.sign(self.bundle, private)
        self.valid = (self.bundle / "bundle.sig").read_bytes()
        self.seeds = [self.valid]

    def run(self, data: bytes) -> None:
        """See `Target`."""
        (self.bundle / "bundle.sig").write_bytes(data)
        Bundle.load(self.bundle, require_signature=self.public)
        expect("only the signature passes", kept=json.loads(data) == json.loads(self.valid))


class KeyPem(Target):
    """The PEM file of a public key."""

    changes = (change_bytes,)

    def set_up(self) -> None:
        """See `Target`."""
        from qa_onnx.bundle import signature

        private, public, _ = signature.make_keys(self.folder / "key")
        self.bundle = Path(shutil.copytree(TINY, self.folder / "bundle"))
        signature.sign(self.bundle, private)
        self.seeds = [public.read_bytes()]

    def run(self, data: bytes) -> None:
        """See `Target`."""
        Bundle.load(self.bundle, require_signature=data)


class OneFile(Target):
    """A bundle in one file, a zip whose members are stored."""

    changes = (change_bytes,)

    def set_up(self) -> None:
        """See `Target`."""
        packed = pack(Bundle.load(TINY), self.folder / "bundle.qab")
        self.seeds = [packed.read_bytes()]

    def run(self, data: bytes) -> None:
        """See `Target`."""
        path = self.folder / "bundle.qab"
        path.write_bytes(data)
        use(Reader.load(path, precision="fp32", threads=1))


class CheckpointFile(Target):
    """A file of a checkpoint; an export reads it before anything else."""

    name: ClassVar[str]

    def set_up(self) -> None:
        """See `Target`."""
        import torch

        from tests import tiny

        torch.set_num_threads(1)
        self.checkpoint = tiny.make_checkpoint("bert", self.folder / "checkpoint")
        if self.name == "model.safetensors.index.json":
            (self.checkpoint / "model.safetensors").rename(self.checkpoint / "model-00001-of-00001.safetensors")
            from safetensors import safe_open

            with safe_open(self.checkpoint / "model-00001-of-00001.safetensors", "pt") as file:
                names = dict.fromkeys(file.keys(), "model-00001-of-00001.safetensors")
            index = {"metadata": {"total_size": 100_000}, "weight_map": names}
            (self.checkpoint / self.name).write_text(json.dumps(index), encoding="utf-8")
        self.seeds = [(self.checkpoint / self.name).read_bytes()]

    def run(self, data: bytes) -> None:
        """See `Target`."""
        from tests.exports import open_and_load

        (self.checkpoint / self.name).write_bytes(data)
        open_and_load(self.checkpoint, self.folder / "model.onnx")


def change_header(rng: Random, data: bytes) -> bytes:
    """Change the JSON header of a file in the format of safetensors; mostly, its length stays right."""
    size = int.from_bytes(data[:8], "little")
    header = change_json(rng, data[8 : 8 + size])
    length = len(header) if rng.random() < 0.9 else rng.choice((0, 1, 2**31, 2**63, 2**64 - 1))
    return length.to_bytes(8, "little") + header + data[8 + size :]


class Safetensors(CheckpointFile):
    """The weights."""

    name = "model.safetensors"
    changes = (change_header, change_header, change_bytes)


class SafetensorsIndex(CheckpointFile):
    """The index of weights in several files."""

    name = "model.safetensors.index.json"


class ConfigJson(CheckpointFile):
    """config.json."""

    name = "config.json"


class DataFile(Target):
    """A file of questions with their answers."""

    ending: ClassVar[str]

    def run(self, data: bytes) -> None:
        """Read the file as `eval` and as `ask --input` read it."""
        from qa_onnx.data import squad

        path = self.folder / f"data{self.ending}"
        path.write_bytes(data)
        with contextlib.suppress(QaOnnxError):
            squad.load(path, skip=lambda _: None)
        squad.load(path)


def _rows() -> list[dict[str, Any]]:
    rows = []
    for number, example in enumerate(PARITY_EXAMPLES[:3]):
        text = example.context.split()[0]
        answers = {"text": [text], "answer_start": [0]}
        row = {"id": str(number), "question": example.question, "context": example.context, "answers": answers}
        rows.append(row)
    return rows


class SquadJson(DataFile):
    """SQuAD's own form."""

    ending = ".json"

    def set_up(self) -> None:
        """See `Target`."""
        paragraphs = []
        for row in _rows():
            answers = [{"text": row["answers"]["text"][0], "answer_start": 0}]
            question = {"id": row["id"], "question": row["question"], "answers": answers, "is_impossible": False}
            paragraphs.append({"context": row["context"], "qas": [question]})
        self.seeds = [json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}).encode()]


class JsonLines(DataFile):
    """Rows, one a line."""

    ending = ".jsonl"
    changes = (change_lines,)

    def set_up(self) -> None:
        """See `Target`."""
        self.seeds = ["\n".join(map(json.dumps, _rows())).encode()]


class Csv(DataFile):
    """Rows in a table."""

    ending = ".csv"
    changes = (change_lines, change_bytes)

    def set_up(self) -> None:
        """See `Target`."""
        import csv

        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(_rows()[0]))
        writer.writeheader()
        writer.writerows({**row, "answers": json.dumps(row["answers"])} for row in _rows())
        self.seeds = [text.getvalue().encode()]


class Parquet(DataFile):
    """Rows in columns; Thrift and pages of values."""

    ending = ".parquet"
    changes = (change_bytes,)

    def set_up(self) -> None:
        """See `Target`."""
        import pyarrow as pa
        from pyarrow import parquet

        sink = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(_rows()), sink)
        self.seeds = [sink.getvalue()]


class DocumentFile(Target):
    """A document whose text is taken out."""

    ending: ClassVar[str]
    changes = (change_bytes,)

    def set_up(self) -> None:
        """See `Target`."""
        self.reader = DocumentReader(Limits(seconds=20, characters=1_000_000))
        self.exits.enter_context(self.reader)

    def run(self, data: bytes) -> None:
        """Read it, and look for all of its text in the source."""
        document = self.reader.read_bytes(data, f"document{self.ending}")
        place = document.source_range(0, len(document.text))
        expect("a place is one of the source", kept=place is None or 0 <= place[0] < place[1] <= len(data))


class MarkdownFile(DocumentFile):
    """Marks and tables, links and code."""

    ending = ".md"

    def set_up(self) -> None:
        """See `Target`."""
        super().set_up()
        self.seeds = [
            b"# A *b*\n\n> [c](d 'e') &amp; `f`\n\n- g\n  - h\n\n|i|j|\n|-|-|\n|k|l|\n\n```py\nm\n```\n<b>n</b>\n"
        ]


class WordFile(DocumentFile):
    """The XML of a Word document; of a changed archive hardly more than its checksum would be read."""

    ending = ".docx"

    def set_up(self) -> None:
        """See `Target`."""
        super().set_up()
        space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
        text = '<w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>a</w:t><w:br w:type="page"/></w:r></w:p>'
        table = f"<w:tbl><w:tr><w:trPr><w:tblHeader/></w:trPr><w:tc>{text}</w:tc></w:tr></w:tbl>"
        self.seeds = [f'<w:document xmlns:w="{space}"><w:body>{text}{table}</w:body></w:document>'.encode()]

    def run(self, data: bytes) -> None:
        """See `DocumentFile`."""
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            archive.writestr("word/document.xml", data)
        super().run(sink.getvalue())


class Pair(Target):
    """A question and its context."""

    def set_up(self) -> None:
        """See `Target`."""
        self.reader = Reader.load(TINY, precision="fp32", threads=1)
        pairs = [{"question": QUESTION, "context": CONTEXT}, {"question": "谁", "context": "是我。" * 40}]
        self.seeds = [json.dumps(pair).encode() for pair in pairs]

    def run(self, data: bytes) -> None:
        """See `Target`."""
        try:
            pair = json.loads(data)
            question, context = pair["question"], pair["context"]
        except (ValueError, TypeError, KeyError, RecursionError):
            question, context = "?", data[:20_000].decode("utf-8", "surrogateescape")
        check_answers(self.reader, Example(question, context))


class OptionValues(Target):
    """The options of a call."""

    changes = (change_json,)

    def set_up(self) -> None:
        """See `Target`."""
        self.reader = Reader.load(TINY, precision="fp32", threads=1)
        own = self.reader.options
        self.seeds = [json.dumps({name: getattr(own, name) for name in own.__slots__}).encode()]

    def run(self, data: bytes) -> None:
        """See `Target`."""
        try:
            values = json.loads(data)
        except (ValueError, RecursionError):
            return
        if isinstance(values, dict):
            known = {name: value for name, value in values.items() if name in Options.__slots__}
            check_answers(self.reader, Example(QUESTION, CONTEXT), Options(**known))


class RawHttp(Target):
    """The bytes of a connection to a server."""

    changes = (change_bytes,)

    def set_up(self) -> None:
        """See `Target`."""
        from tests.served import serve

        self.served: Served = self.exits.enter_context(serve("--read-timeout-s", 2, "--timeout-s", 20))
        bodies = [
            {"question": QUESTION, "context": CONTEXT},
            {
                "examples": [{"id": 1, "question": QUESTION, "context": CONTEXT}],
                "n_best": 2,
                "null_threshold": None,
            },
        ]
        self.seeds = [self.request("/v1/answer", json.dumps(body).encode()) for body in bodies]
        self.seeds += [self.request("/v1/scores", json.dumps(bodies[0]).encode())]
        self.seeds += [self.request(INFER, json.dumps(COLUMNS).encode())]
        pages = ("/health/ready", "/v1/bundle", "/metrics", "/", "/docs", "/v2/models/tiny-bert")
        tail = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self.seeds += [f"GET {path} {tail}".encode() for path in pages]
        self.log_read = 0

    def request(self, path: str, body: bytes, header: bytes = b"Content-Type: application/json") -> bytes:
        """Return a whole request."""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode() + header
        return b"%s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)

    def run(self, data: bytes) -> None:
        """Send an input; the server must live on, and no answer may say that it is at fault."""
        status = self.exchange(data)
        expect(f"no status 5xx ({status})", kept=not status.startswith("5") or status in {"501", "505"})
        expect("the server lives", kept=self.served.process.poll() is None)
        with self.served.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(self.log_read)
            new = log.read()
            self.log_read = log.tell()
        expect("no traceback in the log", kept="Traceback" not in new)

    def exchange(self, data: bytes) -> str:
        """Send bytes, and no more; return the status that comes back, or "" for none."""
        with socket.create_connection(("127.0.0.1", self.served.port), timeout=60) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                first = b""
                while part := connection.recv(65536):
                    first = (first + part)[:12]
            except TimeoutError:
                raise BrokenPromiseError("a connection ends within 60 s") from None
            except OSError:  # the server closed the connection before it had read all
                return ""
        return first[9:12].decode("ascii", "replace")


class HttpBody(RawHttp):
    """The JSON body of a request for answers."""

    changes = (change_json,)

    def set_up(self) -> None:
        """See `Target`."""
        super().set_up()
        self.seeds = [seed.partition(b"\r\n\r\n")[2] for seed in self.seeds[:2]]
        self.seeds += [json.dumps(COLUMNS).encode()]

    def run(self, data: bytes) -> None:
        """See `Target`."""
        for path in ("/v1/answer", "/v1/scores", INFER):
            super().run(self.request(path, data))


class BinaryTensors(RawHttp):
    """The body of a request with binary tensors, after a line with the length of its JSON."""

    def set_up(self) -> None:
        """See `Target`."""
        super().set_up()
        parts = [len(text.encode()).to_bytes(4, "little") + text.encode() for text in (QUESTION, CONTEXT)]
        inputs = [
            {"name": name, "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(part)}}
            for name, part in zip(("question", "context"), parts, strict=True)
        ]
        head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
        self.seeds = [b"%d\n%s" % (len(head), b"".join((head, *parts)))]

    def run(self, data: bytes) -> None:
        """See `Target`."""
        length, _, body = data.partition(b"\n")
        super().run(self.request(INFER, body, b"Inference-Header-Content-Length: " + length))


TARGETS: dict[str, type[Target]] = {
    "manifest": ManifestJson,
    "onnx": Onnx,
    "tokenizer": TokenizerJson,
    "golden": Golden,
    "signature": SignatureJson,
    "key": KeyPem,
    "one-file": OneFile,
    "safetensors": Safetensors,
    "index": SafetensorsIndex,
    "config": ConfigJson,
    "squad": SquadJson,
    "lines": JsonLines,
    "csv": Csv,
    "parquet": Parquet,
    "markdown": MarkdownFile,
    "docx": WordFile,
    "pair": Pair,
    "options": OptionValues,
    "http": RawHttp,
    "body": HttpBody,
    "tensors": BinaryTensors,
}
