"""`qa-onnx train`: every flag reaches the run, and an error is one line."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from qa_onnx.cli import main
from qa_onnx.errors import number_of
from qa_onnx.train import TrainSettings
from tests import training_data
from tests.exports import checkpoint
from tests.trained import strip_head
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.export, pytest.mark.cpu]

QUICK = ("--max-length", "96", "--epochs", "0.1", "--learning-rate", "3e-3", "--threads", "1")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_data.write(tmp_path_factory.mktemp("cli") / "data.json", articles=24)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Restore the number of threads, which the command sets for the process."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["train", *map(str, arguments)])


def train(to: Path, *arguments: str | Path) -> Any:
    """Train the tiny BERT; returns training.json."""
    result = invoke(checkpoint("bert"), *arguments, "--to", to)
    assert result.exit_code == 0, result.output
    return json.loads((to / "training.json").read_bytes())


def test_a_run_reports_its_progress_and_its_result(data: Path, tmp_path: Path) -> None:
    encoder = strip_head(Path(shutil.copytree(checkpoint("bert"), tmp_path / "encoder")))
    result = invoke(encoder, data, "--to", tmp_path / "m", *QUICK)
    assert result.exit_code == 0
    record = json.loads((tmp_path / "m" / "training.json").read_bytes())
    scores = record["result"]
    evaluations = number_of(len(record["evaluations"]), "evaluation")
    said, seconds = " ".join(result.stdout.split()).rsplit(" in ", 1)
    assert said == (
        f"m has F1 {scores['f1']:.2f} and EM {scores['em']:.2f} on {scores['n']} questions (questions held out): "
        f"it is the model after step {scores['steps']} of {record['run']['steps']}, the best of {evaluations} "
        f"trained on 139 questions, 13 without an answer; "
        f"{number_of(record['run']['steps'], 'step')}, 0.10 epochs,"
    )
    assert re.fullmatch(r"\d+ s", seconds)
    assert "have an answer" in result.stderr
    assert "hardly changed" in result.stderr
    assert "epoch 0." in result.stderr
    assert "examples/s" in result.stderr
    assert "a new head is trained" in result.stderr
    assert f"next: qa-onnx export {tmp_path / 'm'}" in result.stderr
    assert "its head is new" in (tmp_path / "m" / "README.md").read_text()
    for noise in ("newly initialized", "UNEXPECTED", "MISSING", "Loading weights"):
        assert noise not in result.output


def test_quiet_leaves_the_result_alone(data: Path, tmp_path: Path) -> None:
    result = invoke(checkpoint("bert"), data, "--to", tmp_path / "m", *QUICK, "--eval-limit", "0", "--quiet")
    assert result.exit_code == 0
    record = json.loads((tmp_path / "m" / "training.json").read_bytes())
    steps = number_of(record["run"]["steps"], "step")
    assert " ".join(result.stdout.split()).startswith(
        f"m is trained, and was not evaluated: it is the model after the last of {steps} trained on 158 questions"
    )
    assert result.stderr == (
        f"trained in {steps}: the model has hardly changed; give it more --epochs or --minutes, or a smaller "
        "--batch-size\n"
    )


FLAGS: dict[str, Any] = {
    **{"eval_limit": 7, "evaluations": 1, "patience": 5, "batch_size": 16, "batch_tokens": 500, "max_length": 64},
    **{"doc_stride": 9, "negatives": 0.5, "dropout": 0.2, "seed": 3, "learning_rate": 1e-3, "save_every_s": 7.5},
}


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        ([], {}),
        ([f"--{name.removesuffix('_s').replace('_', '-')}={value}" for name, value in FLAGS.items()], FLAGS),
        (["--epochs", "0.5", "--bf16", "--device", "cuda"], {"epochs": 0.5, "bf16": True, "device": "cuda"}),
        (["--minutes", "3", "--no-bf16"], {"minutes": 3.0, "bf16": False}),
        (["--teacher", "mpnet", "--teacher-share", "0.5"], {"teacher_share": 0.5}),
        (["--resume", "--replace", "--data-licence", "CC0"], {}),
    ],
    ids=["none", "numbers", "epochs", "minutes", "teacher", "flags"],
)
def test_flags_reach_the_settings_and_the_others_have_their_defaults(
    monkeypatch: pytest.MonkeyPatch, data: Path, flags: list[str], changes: dict[str, Any]
) -> None:
    calls: list[dict[str, Any]] = []

    def work(*_: Any, **named: Any) -> None:
        calls.append(named)
        raise KeyboardInterrupt

    monkeypatch.setattr("qa_onnx.train.train", work)
    assert invoke("bert", data, "--to", "m", "--threads", "1", *flags).exit_code == 130
    assert calls[0]["settings"] == TrainSettings(**changes)
    assert calls[0]["teacher"] == ("mpnet" if "--teacher" in flags else None)
    assert calls[0]["licence"] == ("CC0" if "--data-licence" in flags else None)
    assert calls[0]["resume"] is calls[0]["replace"] is ("--resume" in flags)


def test_the_settings_take_effect(data: Path, tmp_path: Path) -> None:
    flags = ("--max-length", "64", "--epochs", "0.5", "--bf16", "--batch-size", "64", "--negatives", "0")
    record = train(tmp_path / "m", data, *flags, "--eval-limit", "0", "--threads", "1")
    assert record["run"]["epochs"] == pytest.approx(0.5, abs=0.01)
    assert record["run"]["learning_rate"] == 2e-5  # the defaults of question answering models and CPUs
    assert record["run"]["batch_tokens"] == 768
    assert record["run"]["bf16"]
    assert record["run"]["threads"] == 1
    assert record["run"]["steps"] == 2
    assert record["result"] is None
    assert "negatives" not in record["questions"]["counts"]
    assert json.loads((tmp_path / "m" / "config.json").read_bytes())["dtype"] == "float32"


def test_several_files_and_evaluation_data(data: Path, tmp_path: Path) -> None:
    other = training_data.write(tmp_path / "other.json", articles=2, seed=9)
    dev = training_data.write(tmp_path / "dev.json", articles=1, seed=10)
    log = tmp_path / "log.jsonl"
    record = train(tmp_path / "m", data, other, *QUICK, "--eval-data", dev, "--log", log)
    assert [json.loads(line)["loss"] for line in log.read_text().splitlines()] == record["losses"]
    assert [source["name"] for source in record["data"]] == ["data.json", "other.json"]
    assert record["held_out"]["name"] == "dev.json"
    assert record["result"]["n"] == 6
    assert not (tmp_path / "m" / "held-out.jsonl").exists()


def test_an_interrupted_run_says_how_to_resume(data: Path, tmp_path: Path) -> None:
    # A process started in the background ignores SIGINT, and so would its child.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{listening}; from qa_onnx.cli import main; main()"]
    command += ["train", str(checkpoint("bert")), str(data), "--to"]
    command += [str(tmp_path / "m"), *QUICK[:2], "--minutes", "500", "--save-every", "0", "--threads", "1"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    saved = tmp_path / "m.partial" / "state.safetensors"
    eventually(lambda: saved.exists() or run.poll() is not None, "a step is saved")
    run.send_signal(signal.SIGINT)
    out, errors = run.communicate()
    assert run.returncode == 130
    assert out == ""
    assert errors.endswith("stopped; the same command with --resume continues from the last save\n")
    assert "Traceback" not in errors
    assert "  0%  epoch 0." in errors  # a line, not a bar, without a terminal
    result = invoke(checkpoint("bert"), data, "--to", tmp_path / "m", *QUICK, "--resume")
    assert result.exit_code == 1
    assert (
        "is the state of a run with another epochs (2.0), learning_rate (None), minutes (500.0)" in result.stderr
    )


def test_an_error_is_one_line(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("")
    for arguments, message in (
        ([checkpoint("bert"), tmp_path / "empty.json"], "the file is empty"),
        ([tmp_path / "absent-model" / "x" / "y", data], "neither a folder nor the id of a model"),
        ([checkpoint("bert"), data], "reads at most 128 tokens"),
    ):
        result = invoke(*arguments, "--to", tmp_path / "m")
        assert result.exit_code == 1
        assert message in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.output
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--negatives", "2"], "'--negatives': 2.0 is not in the range 0.0<=x<=1.0"),
        (["--minutes", "1", "--epochs", "1"], "--epochs and --minutes exclude each other"),
        (["--teacher-share", "0.5"], "--teacher-share requires --teacher"),
    ],
)
def test_flags_that_do_not_fit_are_refused(data: Path, flags: list[str], message: str) -> None:
    result = invoke("bert", data, "--to", "m", *flags)
    assert result.exit_code == 2
    assert message in result.stderr
