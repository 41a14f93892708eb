"""Checkpoints and objects in the user's cache: exported once, whole or not at all, made again where damaged."""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qa_onnx import Bundle, BundleError, ExportError, InputError, Reader, pipeline
from qa_onnx.export.cached import load_cached
from qa_onnx.machine.cache import cache_folder
from qa_onnx.machine.locks import work_folder
from tests.conftest import TINY
from tests.tiny import make_checkpoint

pytestmark = pytest.mark.slow

QUESTION, CONTEXT = "Who saw the boat?", "The keeper saw the boat, and the boat came home."

HEAVY = ("torch", "transformers", "optimum", "onnx")


class FoundError(Exception):
    """Carries the folder that a bundle was looked for in."""


def stop(folder: Path) -> Any:
    raise FoundError(folder)


def entry_of(checkpoint: Path, precision: str = "fp32") -> Path:
    """Where the bundle of a checkpoint would be; nothing is exported."""
    with pytest.raises(FoundError) as caught:
        load_cached(checkpoint, precision, stop)
    folder = caught.value.args[0]
    assert isinstance(folder, Path)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "qa-onnx" / "checkpoints"


_HEADER = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
_ONE_WEIGHT = len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(4)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What looks like a checkpoint from outside."""
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(_ONE_WEIGHT)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint("bert", tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_another_content_or_precision_is_another_bundle(files: Path, cache: Path, name: str) -> None:
    entry = entry_of(files)
    assert entry.parent == cache
    assert entry.name.startswith("my-model-")
    assert entry.name.endswith("-fp32")
    assert entry_of(files) == entry
    assert entry_of(files, "int8") != entry
    (files / "optimizer.pt").write_text("left by training", encoding="utf-8")
    assert entry_of(files) == entry
    content = (files / name).read_bytes()
    (files / name).write_bytes(content[:-1] + b"1" if name == "model.safetensors" else content + b" ")
    assert entry_of(files) != entry


def test_what_is_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="neither a folder nor the id"):
        pipeline("question-answering", str(tmp_path / "none" / "at all"))


def test_a_cache_that_cannot_be_written_to_is_an_error(
    checkpoint_or_skip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ExportError, match=r"cannot write to the cache .* set XDG_CACHE_HOME"):
        pipeline("question-answering", checkpoint_or_skip)


def test_without_a_place_for_a_cache_an_error_says_which_variable_names_one(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def home() -> Path:
        raise RuntimeError("no home folder")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(ExportError, match="cannot keep a bundle: no home folder: set XDG_CACHE_HOME to a folder"):
        pipeline("question-answering", files)


@pytest.fixture
def checkpoint_or_skip(request: pytest.FixtureRequest) -> Path:
    for name in HEAVY:
        pytest.importorskip(name)
    found: Path = request.getfixturevalue("checkpoint")
    return found


def ask(checkpoint: Any, **arguments: Any) -> Any:
    return pipeline("question-answering", checkpoint, threads=1, **arguments)(question=QUESTION, context=CONTEXT)


def in_a_process(checkpoint: Path, *, without: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({without!r}))\n"
        "from qa_onnx import QaOnnxError, pipeline\n"
        "try:\n"
        f"    qa = pipeline('question-answering', {str(checkpoint)!r}, threads=1)\n"
        f"    print(qa(question={QUESTION!r}, context={CONTEXT!r}))\n"
        "except QaOnnxError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def printed(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip()


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The checkpoint's cache after one call, and that call's result."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("xdg")))
        return cache_folder("checkpoints"), ask(checkpoint)


@pytest.fixture
def filled(exported: tuple[Path, Any], cache: Path) -> Any:
    """This test's cache as it is after one call; gives that call's result."""
    shutil.copytree(exported[0], cache)
    return exported[1]


@pytest.mark.export
def test_a_checkpoint_is_exported_once_and_then_read_without_torch(
    checkpoint: Path, cache: Path, filled: Any
) -> None:
    (entry,) = cache.iterdir()  # and nothing else is left
    assert entry == entry_of(checkpoint)
    assert list(Bundle.load(entry).manifest.graphs) == ["fp32"]
    assert Bundle.load(entry).manifest.source.name == "tiny"
    made = (entry / "bundle.json").stat()
    assert printed(in_a_process(checkpoint, without=HEAVY)) == str(filled)
    assert (entry / "bundle.json").stat().st_mtime_ns == made.st_mtime_ns


@pytest.mark.export
def test_each_precision_is_a_bundle_of_its_own(checkpoint: Path, cache: Path, filled: Any) -> None:
    assert ask(checkpoint, precision="int8")["answer"] in CONTEXT
    assert {entry.name.rpartition("-")[2] for entry in cache.iterdir()} == {"fp32", "int8"}


@pytest.mark.parametrize("without", [("torch",), HEAVY])
def test_without_the_extra_an_error_names_it(files: Path, without: tuple[str, ...]) -> None:
    text = printed(in_a_process(files, without=without))
    assert text.startswith("MissingExtraError ")
    assert "torch" in text
    assert text.endswith("not installed: pip install 'qa-onnx[export]'")


@pytest.mark.export
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_bundle_is_made_again(checkpoint: Path, cache: Path, filled: Any, damage: str) -> None:
    (entry,) = cache.iterdir()
    (graph,) = entry.glob("model-*.onnx")
    whole = graph.read_bytes()
    if damage == "changed":
        graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "cut":
        (entry / "bundle.json").write_text("{", encoding="utf-8")
    else:
        graph.unlink()
    assert ask(checkpoint) == filled
    assert list(cache.iterdir()) == [entry]
    assert graph.read_bytes() == whole


@pytest.mark.export
def test_two_processes_may_want_the_same_bundle_at_once(
    checkpoint: Path, cache: Path, exported: tuple[Path, Any]
) -> None:
    answers = {printed(process) for process in [in_a_process(checkpoint) for _ in range(2)]}
    assert answers == {str(exported[1])}
    (entry,) = cache.iterdir()
    assert entry == entry_of(checkpoint)


@pytest.mark.export
def test_the_bundle_of_a_faster_process_stays(checkpoint: Path, cache: Path) -> None:
    calls = 0

    def load(folder: Path) -> Reader:
        nonlocal calls
        calls += 1
        if calls == 1:
            shutil.copytree(TINY, folder)  # what another process puts there while this one exports
            raise BundleError("not there")
        return Reader.load(folder, precision="fp32", threads=1)

    load_cached(checkpoint, "fp32", load)
    (entry,) = cache.iterdir()
    assert (entry / "bundle.json").read_bytes() == (TINY / "bundle.json").read_bytes()
    assert calls == 2


@pytest.mark.export
def test_what_a_killed_export_left_is_removed_but_not_what_is_at_work(checkpoint: Path, cache: Path) -> None:
    old, killed, new = (cache / f".building-{name}" for name in ("old", "killed", "new"))
    with work_folder(cache, ".building-") as at_work:
        for folder in (old, killed, new):
            (folder / "bundle").mkdir(parents=True)
        os.utime(old, times=(time.time() - 200_000,) * 2)  # of a release that locked nothing
        (killed / "lock").touch()
        ask(checkpoint)
        assert at_work.exists()
    assert not old.exists()
    assert not killed.exists()
    assert new.exists()


@pytest.mark.export
def test_a_folder_with_a_finished_onnx_model_is_made_into_a_bundle(cache: Path) -> None:
    from tests.export.test_finished import make_finished

    answered = pipeline(model=make_finished("bert"))(question="Who lit the lamp?", context=CONTEXT)
    assert answered["answer"] in CONTEXT
    assert len(list(cache.iterdir())) == 1


@pytest.mark.export
@pytest.mark.parametrize("inner", ["", "onnx"])
def test_a_tokenizer_replaces_that_of_a_finished_onnx_model(kept: Path, tmp_path: Path, inner: str) -> None:
    from tests.export.test_finished import make_finished

    folder = Path(shutil.copytree(make_finished("bert"), tmp_path / "theirs"))
    (folder / inner).mkdir(exist_ok=True)
    (folder / "model.onnx").rename(folder / inner / "model.onnx")
    assert ask(folder, tokenizer=make_finished("roberta"))["answer"] in CONTEXT
    (entry,) = kept.iterdir()
    bundle = Bundle.load(entry)
    assert (bundle.manifest.source.name, bundle.manifest.source.kind) == ("theirs", "onnx")
    tokenizer = bundle.text(bundle.manifest.tokenizer)
    assert tokenizer == (make_finished("roberta") / "tokenizer.json").read_text("utf-8")


class Objects:
    """A model and a tokenizer of transformers, as a program holds them."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import AutoModelForQuestionAnswering, AutoTokenizer

        self.model = AutoModelForQuestionAnswering.from_pretrained(checkpoint)
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def objects(checkpoint_or_skip: Path) -> Objects:
    return Objects(checkpoint_or_skip)


@pytest.fixture
def kept(cache: Path) -> Path:
    """Where the bundles of objects are."""
    return cache.parent / "objects"


@pytest.mark.export
def test_objects_are_exported_once_for_the_same_weights(
    objects: Objects,
    kept: Path,
    exported: tuple[Path, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO, "qa_onnx.export.cached")
    assert ask(objects.model, tokenizer=objects.tokenizer) == exported[1]
    (entry,) = kept.iterdir()
    assert capfd.readouterr() == ("", "")
    begin, end = caplog.messages
    assert begin == "exporting tiny (0 MB) for the first use"
    assert end.startswith(f"wrote {entry} (0 MB) in ")

    made = (entry / "bundle.json").stat()
    week_ago = time.time() - 6 * 86_400
    os.utime(entry, times=(week_ago, week_ago))
    assert ask(objects.model, tokenizer=objects.tokenizer) == exported[1]
    assert (entry / "bundle.json").stat().st_mtime_ns == made.st_mtime_ns
    assert entry.stat().st_mtime > week_ago  # it was used
    assert len(caplog.messages) == 2

    objects.model.qa_outputs.bias.data += 1.0
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    ask(objects.model, tokenizer=objects.tokenizer)
    assert len(list(kept.iterdir())) == 2
    assert "exporting tiny (0 MB) for the first use" in terminal.getvalue()
    assert "exported tiny: 0 MB in" in terminal.getvalue()
    assert len(caplog.messages) == 2  # the terminal shows it


@pytest.mark.export
def test_what_nobody_used_for_a_week_is_removed_of_objects_only(objects: Objects, kept: Path, cache: Path) -> None:
    folders = [parent / name for parent in (kept, cache) for name in ("old-0-fp32", "new-0-fp32")]
    for folder in folders:
        folder.mkdir(parents=True)
        if folder.name.startswith("old"):
            os.utime(folder, times=(time.time() - 8 * 86_400,) * 2)
    ask(objects.model, tokenizer=objects.tokenizer)
    assert [folder.exists() for folder in folders] == [False, True, True, True]


@pytest.mark.export
def test_a_tokenizer_object_replaces_that_of_a_checkpoint(
    objects: Objects, checkpoint: Path, kept: Path, tmp_path: Path
) -> None:
    from tokenizers import normalizers

    folder = Path(shutil.copytree(checkpoint, tmp_path / "theirs"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    objects.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("keeper", "boat")
    ask(folder, tokenizer=objects.tokenizer)
    (entry,) = kept.iterdir()
    bundle = Bundle.load(entry)
    assert '"keeper"' in bundle.text(bundle.manifest.tokenizer)
    assert bundle.manifest.source.name == "theirs"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


class SavesFiles:
    """A model object that saves the files of a folder, as optimum's do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save_pretrained(self, to: Path) -> None:
        shutil.copytree(self.folder, to, dirs_exist_ok=True)


@pytest.mark.export
def test_an_object_that_saves_onnx_is_made_into_a_bundle(objects: Objects, kept: Path) -> None:
    from tests.export.test_finished import make_finished

    assert ask(SavesFiles(make_finished("bert")), tokenizer=objects.tokenizer)["answer"] in CONTEXT
    (entry,) = kept.iterdir()
    assert entry.name.startswith("SavesFiles-")
    assert Bundle.load(entry).manifest.source.kind == "onnx"


@pytest.mark.export
def test_an_object_without_usable_weights_is_an_error(objects: Objects, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "tf").mkdir()
    with pytest.raises(
        InputError, match=r"SavesFiles, which saves no weights of PyTorch or ONNX: in transformers 4"
    ):
        ask(SavesFiles(tmp_path / "tf"), tokenizer=objects.tokenizer)
    with pytest.raises(InputError, match=r"model.save_pretrained fails for SavesFiles: .*No such file"):
        ask(SavesFiles(tmp_path / "none"), tokenizer=objects.tokenizer)
    with pytest.raises(InputError, match=r"transformers cannot load the tokenizer .*nowhere"):
        ask(SavesFiles(tmp_path / "tf"), tokenizer=tmp_path / "nowhere")
    assert list(kept.iterdir()) == []


@pytest.mark.export
def test_a_hub_id_is_fetched_once_with_revision_and_token(
    checkpoint: Path, cache: Path, tmp_path: Path, exported: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def fetch(name: str, *, allow_patterns: list[str], **how: Any) -> str:
        asked.append((name, how))
        return str(snapshot)

    snapshot = shutil.copytree(checkpoint, tmp_path / "snapshots" / "0f3a")
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    arguments = {"revision": "v1", "token": "secret", "model_kwargs": {"cache_dir": "here"}}
    assert ask("somebody/theirs", **arguments) == exported[1]
    assert asked == [("somebody/theirs", {"revision": "v1", "token": "secret", "cache_dir": "here"})]
    (entry,) = cache.iterdir()
    source = Bundle.load(entry).manifest.source
    assert (source.name, source.revision) == ("theirs", "0f3a")
    assert entry.name.startswith("theirs-")
