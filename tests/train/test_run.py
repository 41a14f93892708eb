"""From files to a checkpoint that exports: its files, errors, resuming and replacing."""

from __future__ import annotations

import json
import logging
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qa_onnx import InputError, MissingExtraError, TrainError
from qa_onnx.data import squad
from qa_onnx.evaluation.evaluate import evaluate
from qa_onnx.export import EvaluationSettings, export
from qa_onnx.machine import packages
from qa_onnx.reader import Reader
from qa_onnx.train import TrainSettings, train
from qa_onnx.train.evaluations import score
from qa_onnx.train.report import downsample, plot
from qa_onnx.train.state import State
from tests import training_data
from tests.exports import checkpoint, snapshot
from tests.trained import SMALL, StoppedError, stop_at, weights_in

if TYPE_CHECKING:
    from qa_onnx.train.callback import Status

pytestmark = [pytest.mark.export, pytest.mark.cpu]

QUICK = TrainSettings(**{**SMALL, "epochs": 0.2})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_data.write(tmp_path_factory.mktemp("run") / "data.json")


@pytest.fixture(scope="module")
def model(data: Path) -> tuple[Path, dict[str, Any]]:
    """A finished model, not to be changed, and its record."""
    to = data.parent / "model"
    return to, train(checkpoint("bert"), [data], to, settings=QUICK, licence="CC0 1.0")


# What is written


def test_the_folder_is_a_checkpoint_with_its_documents(model: tuple[Path, dict[str, Any]], data: Path) -> None:
    to, record = model
    assert {path.name for path in to.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("README.md", "training.json", "training.svg", "held-out.jsonl"),
    }
    assert len({path.stat().st_mode for path in to.iterdir()}) == 1  # the same users can read all files
    assert not to.with_name("model.partial").exists()
    assert json.loads((to / "training.json").read_bytes()) == record
    assert record["data"] == [{"name": "data.json", "sha256": squad.load(data).sha256, "questions": 204}]
    assert record["held_out"]["articles"] == sorted({g.article for g in squad.load(to / "held-out.jsonl").golds})
    assert record["settings"]["learning_rate"] == SMALL["learning_rate"]
    assert record["run"]["steps"] == len(record["losses"])
    assert record["questions"]["counts"]["answerable"] == 180
    assert set(record["versions"]) >= {"qa-onnx", "torch", "transformers"}


def test_the_model_card_names_data_settings_and_result(model: tuple[Path, dict[str, Any]]) -> None:
    from huggingface_hub import ModelCard

    to, record = model
    card = (to / "README.md").read_text(encoding="utf-8")
    for text in (
        "# model\n",
        record["data"][0]["sha256"],
        "180 have an answer",
        "articles held out: article ",
        f"F1 {record['result']['f1']:.2f} on 26 questions",
        "learning rate 0.003",
        "## Licence\n\nCC0 1.0",
        "(training.svg)",
    ):
        assert text in card
    assert "its head is new" not in card
    data: Any = ModelCard(card).data  # as the hub reads it
    assert (data.library_name, data.pipeline_tag) == ("transformers", "question-answering")
    assert data.base_model == checkpoint("bert").name
    assert [(result.metric_type, result.metric_value) for result in data.eval_results] == [
        ("exact_match", round(record["result"]["em"], 2)),
        ("f1", round(record["result"]["f1"], 2)),
    ]


def test_the_plot_shows_loss_and_f1_and_no_empty_panel(model: tuple[Path, dict[str, Any]]) -> None:
    root = ET.fromstring((model[0] / "training.svg").read_text(encoding="utf-8"))
    assert {"axes_1", "axes_2", "legend_1"} <= {element.get("id") for element in root.iter()}
    assert "axes_2" not in plot(State({}, losses=[1.0]))
    assert downsample([1.0, 3.0, 5.0, 7.0], 2) == ([2, 4], [2.0, 6.0])


def test_it_exports_and_the_bundle_has_the_scores_of_training(
    model: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    to, record = model
    bundle = export(to, tmp_path / "bundle", precisions=("fp32",), max_length=96)
    report = evaluate(Reader.load(bundle, threads=1, options=QUICK.options()), squad.load(to / "held-out.jsonl"))
    assert report.null_threshold
    assert report.null_threshold.best_f1 == pytest.approx(record["result"]["f1"], abs=0.01)
    assert report.null_threshold.best_em == pytest.approx(record["result"]["em"], abs=0.01)
    assert report.has_answer
    assert report.has_answer.f1 == pytest.approx(record["result"]["has_answer_f1"], abs=0.01)


def test_it_is_not_calibrated_on_its_training_data(
    model: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path
) -> None:
    other = training_data.write(tmp_path / "other.json", seed=9)
    settings = EvaluationSettings(eval_data=other, calibration_data=data, calibrate=True)
    with pytest.raises(InputError, match=r"was trained on data\.json, .*held-out\.jsonl"):
        export(model[0], tmp_path / "bundle", evaluation=settings)


def test_the_weights_are_those_of_the_best_evaluation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    scores = iter((10.0, 30.0, 30.0, 20.0))
    monkeypatch.setattr(
        "qa_onnx.train.evaluations.score",
        lambda *arguments: score(*arguments) | {"f1": next(scores)},
    )
    settings = TrainSettings(**{**SMALL, "epochs": 1, "evaluations": 4})
    kept: dict[str, Any] = {}

    def watch(_: Status) -> None:
        for path in (tmp_path / "m.partial").glob("best-*"):
            kept.setdefault(path.name, weights_in(path))

    record = train(checkpoint("bert"), [data], tmp_path / "m", settings=settings, callback=watch)
    best = record["evaluations"][2]  # of equals the later one
    assert record["result"] == best
    assert best["f1"] == 30.0
    assert weights_in(tmp_path / "m" / "model.safetensors") == kept[f"best-{best['steps']}.safetensors"]


def test_without_evaluation_the_last_weights_are_kept_and_no_score_is_claimed(data: Path, tmp_path: Path) -> None:
    settings = TrainSettings(**{**SMALL, "eval_limit": 0, "epochs": 0.1})
    record = train(checkpoint("bert"), [data], tmp_path / "m", settings=settings)
    assert record["result"] is None
    assert record["held_out"] is None
    assert not (tmp_path / "m" / "held-out.jsonl").exists()
    card = (tmp_path / "m" / "README.md").read_text()
    assert "Not measured" in card
    assert "model-index" not in card


# Resuming and starting again


def test_a_run_that_fails_leaves_the_old_model(
    model: tuple[Path, dict[str, Any]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left")

    to = Path(shutil.copytree(model[0], tmp_path / "m"))
    before = snapshot(to)
    with pytest.raises(TrainError, match="holds a finished model"):
        train(checkpoint("bert"), [data], to, settings=QUICK)
    with pytest.raises(StoppedError):
        train(checkpoint("bert"), [data], to, settings=QUICK, replace=True, callback=stop_at(3))
    with monkeypatch.context() as patch:
        patch.setattr("qa_onnx.train.base.Base.save", full)
        with pytest.raises(TrainError, match="No space left; go on with --resume"):
            train(checkpoint("bert"), [data], to, settings=QUICK, replace=True)
    assert snapshot(to) == before
    train(checkpoint("bert"), [data], to, settings=QUICK, resume=True)  # only the writing is left
    assert not to.with_name("m.partial").exists()
    after = snapshot(to)
    assert after["model.safetensors"] == before["model.safetensors"]
    assert after["training.json"] != before["training.json"]


def test_a_finished_run_has_nothing_to_resume(
    model: tuple[Path, dict[str, Any]], data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "qa_onnx"):
        assert train(checkpoint("bert"), [data], model[0], settings=QUICK, resume=True) == model[1]
    assert "is finished: there is nothing to resume" in caplog.text


def test_before_the_first_save_there_is_nothing_to_resume(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoppedError):
        train(checkpoint("bert"), [data], tmp_path / "m", settings=QUICK, callback=stop_at(1))
    with caplog.at_level(logging.INFO, "qa_onnx"):
        train(checkpoint("bert"), [data], tmp_path / "m", settings=QUICK, resume=True)
    assert "nothing was saved yet" in caplog.text


def test_other_arguments_do_not_resume_a_run(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    often = {**SMALL, "epochs": 0.2, "save_every_s": 0.0}
    other = training_data.write(tmp_path / "other.json", seed=8)
    with pytest.raises(StoppedError):
        train(checkpoint("bert"), [data], tmp_path / "m", settings=TrainSettings(**often), callback=stop_at(3))
    for changes, files, message in (
        ({"learning_rate": 1e-5}, [data], r"another learning_rate \(0\.003\)"),
        ({"seed": 1}, [data], r"another data \(.*\), evaluation data \(.*\), seed \(0\)"),
        ({}, [other], r"another data \(.*\), evaluation data \("),
        ({"bf16": True}, [data], "another bf16"),
    ):
        settings = TrainSettings(**{**often, **changes})
        with pytest.raises(TrainError, match=message):
            train(checkpoint("bert"), files, tmp_path / "m", settings=settings, resume=True)
    settings = TrainSettings(**{**often, "save_every_s": 60.0})  # this one may differ
    with caplog.at_level(logging.INFO, "qa_onnx"):
        train(checkpoint("bert"), [data], tmp_path / "m", settings=settings, resume=True)
    assert "resuming at step 2" in caplog.text


# Errors


def test_data_without_a_usable_answer_is_refused(tmp_path: Path) -> None:
    record = {"id": "1", "question": "Who?", "context": "Ida came.", "answers": ["Paul"]}
    data = training_data.lines(tmp_path / "d.jsonl", record)
    with pytest.raises(
        InputError, match=r"no question is left to train on: 1 have an answer that is not in .*\(1\)"
    ):
        train(checkpoint("bert"), [data], tmp_path / "m", settings=QUICK)
    assert not (tmp_path / "m.partial").exists()


def test_a_missing_package_is_named_with_its_remedy(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = packages.version
    monkeypatch.setattr(packages, "version", lambda name: None if name == "matplotlib" else version(name))
    with pytest.raises(MissingExtraError, match=r"^matplotlib not installed: pip install 'qa-onnx\[train\]'$"):
        train(checkpoint("bert"), [data], tmp_path / "m")


# Learning


@pytest.mark.slow
def test_a_small_random_bert_learns_two_hundred_examples_by_heart_and_exports(tmp_path: Path) -> None:
    data = training_data.write(tmp_path / "data.json")
    settings = TrainSettings(
        bf16=False, epochs=45, learning_rate=3e-3, batch_size=16, max_length=96, negatives=0.0, evaluations=3
    )
    record = train(checkpoint("bert"), [data], tmp_path / "m", settings=settings, eval_data=data)
    assert record["result"]["n"] == 204
    assert record["result"]["f1"] > 95
    bundle = export(tmp_path / "m", tmp_path / "bundle", precisions=("fp32",), max_length=96)
    report = evaluate(Reader.load(bundle, threads=1, options=settings.options()), squad.load(data))
    assert report.f1 == pytest.approx(record["result"]["f1"], abs=0.01)
