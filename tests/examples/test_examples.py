"""The files in examples/ do what they say, as far as the packages that they need are installed."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import qa_onnx
from qa_onnx import Answer, Example, Reader
from tests.conftest import TINY
from tests.examples.hosted import ROOT

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"
LIGHTHOUSE = (EXAMPLES / "lighthouse.txt").read_text(encoding="utf-8")
BOAT: dict[str, Any] = {
    "question": "What colour is the boat?",
    "context": "The boat is blue and the sail is white.",
}


def load(name: str, *packages: str) -> ModuleType:
    """The module of an example; skips where a package that it needs is not installed."""
    for package in packages:
        pytest.importorskip(package, reason=f"needs {package}")
    return importlib.import_module(name)


@pytest.fixture(autouse=True)
def _examples_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader.load(threads=1)


def printed(name: str, warnings: str = "error") -> str:
    command = [sys.executable, "-W", warnings, str(EXAMPLES / f"{name}.py")]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def test_all_examples_are_tested() -> None:
    tests = [*Path(__file__).parent.glob("test_*.py"), ROOT / "tests" / "serve" / "test_mounting.py"]
    source = "".join(path.read_text(encoding="utf-8") for path in tests)
    names = [path.stem for path in EXAMPLES.glob("*.py")]
    assert len(names) >= 6
    assert [name for name in names if name not in source] == []


def test_fastapi_service() -> None:
    app = load("fastapi_service", "fastapi", "httpx").app
    from fastapi.testclient import TestClient

    with TestClient(app) as client:
        reply = client.post("/answer", json=BOAT)
        assert reply.status_code == 200
        assert 0 < reply.json().pop("probability") <= 1
        assert reply.json() == {"text": "blue", "start": 12, "end": 16, "probability": reply.json()["probability"]}
        assert client.post("/answer", json={"question": "Who?"}).status_code == 422


@pytest.mark.parametrize(("error", "status"), [("QueueFullError", 429), ("DeadlineError", 504)])
def test_fastapi_service_tells_a_full_queue_from_a_late_answer(error: str, status: int) -> None:
    app = load("fastapi_service", "fastapi", "httpx").app
    from fastapi.testclient import TestClient

    class Failing:
        async def ask(self, *texts: str, timeout_s: float) -> Answer:
            raise getattr(qa_onnx, error)("no")

    with TestClient(app) as client:
        app.state.reader = Failing()
        reply = client.post("/answer", json=BOAT)
    assert reply.status_code == status
    assert reply.headers.get("Retry-After") == ("1" if status == 429 else None)


def test_asyncio_worker_prints_both_answers() -> None:
    lines = printed("asyncio_worker").splitlines()
    assert sorted(lines) == ["0 Agnes Halloran", "1 21 nautical miles"]


def test_asyncio_worker_answers_many_questions_and_none_twice() -> None:
    work = load("asyncio_worker").work

    async def drive() -> list[tuple[str, Answer | str]]:
        questions: asyncio.Queue[Example | None] = asyncio.Queue()
        answers: asyncio.Queue[tuple[str, Answer | str]] = asyncio.Queue()
        for number in range(50):
            questions.put_nowait(Example(BOAT["question"], BOAT["context"], id=str(number)))
        questions.put_nowait(None)
        await work(questions, answers)
        return [answers.get_nowait() for _ in range(answers.qsize())]

    found = asyncio.run(drive())
    assert sorted(int(number) for number, _ in found) == list(range(50))
    assert {answer.text for _, answer in found if isinstance(answer, Answer)} == {"blue"}


def test_process_pool_prints_both_answers() -> None:
    assert printed("process_pool") == "Agnes Halloran\n21 nautical miles\n"


@pytest.mark.filterwarnings("ignore")  # of the other package
def test_haystack_component() -> None:
    module = load("haystack_component", "haystack")
    from haystack import Document, Pipeline

    pipeline = Pipeline()
    pipeline.add_component("reader", module.OnnxReader(top_k=3))
    documents = [Document(content=BOAT["context"]), Document(content=LIGHTHOUSE), Document(content=None)]
    answers = pipeline.run({"reader": {"query": "Who designed the tower?", "documents": documents}})["reader"][
        "answers"
    ]
    assert len(answers) == 3
    best = answers[0]
    assert (best.data, best.query, best.document) == ("Agnes Halloran", "Who designed the tower?", documents[1])
    assert LIGHTHOUSE[best.document_offset.start : best.document_offset.end] == best.data
    assert [answer.meta["score"] for answer in answers] == sorted((a.meta["score"] for a in answers), reverse=True)
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["haystack_component"])
    assert again.to_dict() == pipeline.to_dict()


RECIPES = {
    "pandas_frame": "pandas",
    "polars_frame": "polars",
    "duckdb_relation": "duckdb",
    "dask_frame": "dask",
    "daft_frame": "daft",
    "spark_frame": "pyspark",
}
SPARK = {
    "PYSPARK_PYTHON": sys.executable,
    "PYSPARK_SUBMIT_ARGS": "--master local[1] --conf spark.ui.enabled=false pyspark-shell",
    "SPARK_LOCAL_IP": "127.0.0.1",
}


@pytest.mark.parametrize("name", RECIPES)
def test_each_engine_has_the_same_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in (RECIPES[name], "pyarrow"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    if name == "spark_frame":
        if shutil.which("java") is None:
            pytest.skip("needs Java")
        for variable, value in SPARK.items():
            monkeypatch.setenv(variable, value)
    # PySpark warns of a new pandas, and Python of what is not closed when a Java process ends.
    lines = printed(name, "default" if name == "spark_frame" else "error").splitlines()
    assert sorted(lines) == [
        "What colour is the boat? | blue",
        "Who came by boat? | Ida",
        "Who is the captain? | the context is null",
    ]


def test_pandas_frame_keeps_index_and_columns(reader: Reader) -> None:
    module = load("pandas_frame", "pandas", "pyarrow")
    import pandas

    texts = {name: [text, None] for name, text in BOAT.items()}
    frame = pandas.DataFrame({"id": ["a", "b"], **texts}, index=[7, 7])
    found = module.answer_frame(frame)
    assert list(found.columns)[:4] == ["id", "question", "context", "answer_text"]
    assert found.index.tolist() == [7, 7]
    answer = reader.ask(**BOAT)
    assert (found["answer_text"].iloc[0], found["answer_end"].iloc[0]) == (answer.text, answer.end) == ("blue", 16)
    assert found["answer_end"].isna().tolist() == [False, True]
    assert found["answer_end"].dtype == "Int64"


@pytest.mark.parametrize("bundle", [EXAMPLES, TINY], ids=["default", "its own"])
def test_endpoint_handler(bundle: Path) -> None:
    handler = load("endpoint_handler").EndpointHandler(str(bundle))
    expected = qa_onnx.pipeline("question-answering", model=None if bundle == EXAMPLES else str(bundle))
    assert handler({"inputs": BOAT}) == expected(BOAT)
    assert list(expected(BOAT)) == ["score", "start", "end", "answer"]
    found = handler({"inputs": [BOAT, BOAT], "parameters": {"top_k": 2}})
    assert found == [expected(BOAT, top_k=2)] * 2
    assert handler({"inputs": BOAT, "parameters": None}) == expected(BOAT)


def test_sagemaker_handler(tmp_path: Path) -> None:
    module = load("sagemaker_handler")
    reader = module.model_fn(str(TINY))
    one, two = json.dumps(BOAT), json.dumps([BOAT, {**BOAT, "context": ""}]).encode()
    answers = json.loads(
        module.output_fn(module.predict_fn(module.input_fn(one, "application/json"), reader), "*/*")
    )
    assert answers == [reader.ask(**BOAT).to_dict()]
    examples = module.input_fn(two, "application/json")
    assert [bool(answer["text"]) for answer in module.predict_fn(examples, reader)] == [True, False]
    with pytest.raises(ValueError, match=r"content type is text/csv; it must be application/json"):
        module.input_fn(one, "text/csv")
    with pytest.raises(ValueError, match=r"accept is text/csv; it must be application/json"):
        module.output_fn(answers, "text/csv")


class Frame(dict[str, list[str]]):
    """What the MLflow example takes of a data frame: columns by name, and an index."""

    index = range(2)


def test_mlflow_model_around_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MLflow and pandas: a base class, and frames, with the calls that the example makes."""
    saved: dict[str, Any] = {}
    chosen: list[Any] = []
    pyfunc = SimpleNamespace(PythonModel=object, save_model=lambda path, **rest: saved.update(path=path, **rest))
    stand_in = SimpleNamespace(pyfunc=pyfunc, models=SimpleNamespace(set_model=chosen.append))
    frames = SimpleNamespace(DataFrame=lambda rows, index: (rows, index))
    for name, module in (("mlflow", stand_in), ("pandas", frames)):
        monkeypatch.setitem(sys.modules, name, module)
    example = SimpleNamespace(**runpy.run_path(str(EXAMPLES / "mlflow_model.py")))
    example.save("model", TINY)
    assert saved == {"path": "model", "python_model": example.__file__, "artifacts": {"bundle": str(TINY)}}
    [model] = chosen
    model.load_context(SimpleNamespace(artifacts=saved["artifacts"]))
    rows, index = model.predict(None, Frame(question=[BOAT["question"]] * 2, context=[BOAT["context"], ""]))
    assert index == Frame.index
    assert rows[0] == Reader.load(TINY).ask(**BOAT).to_dict()
    assert rows[1]["text"] == ""


@pytest.mark.filterwarnings("ignore")  # of the other package
def test_mlflow_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow")
    import pandas

    monkeypatch.chdir(tmp_path)
    load("mlflow_model", "pandas").save(tmp_path / "model", TINY)
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    frame = pandas.DataFrame([BOAT, {**BOAT, "context": ""}], index=[7, 3])
    found = model.predict(frame)
    assert found.loc[7].to_dict() == Reader.load(TINY).ask(**BOAT).to_dict()
    assert found.loc[3, "text"] == ""


GRADIO = """
from gradio_page import answer, page
found = answer("What colour is the boat?", "The boat is blue and the sail is white.")
[mark] = found["entities"]
print(found["text"][mark["start"] : mark["end"]], answer("Who?", ""), len(page.input_components))
"""


def test_gradio_page() -> None:
    pytest.importorskip("gradio", reason="needs gradio")
    # In a process of its own: it leaves an event loop open.
    done = subprocess.run([sys.executable, "-c", GRADIO], cwd=EXAMPLES, capture_output=True, text=True, check=True)
    assert done.stdout == "blue {'text': '', 'entities': []} 2\n"
