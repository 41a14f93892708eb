"""The wheel: it answers where nothing but it and its dependencies is."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("hatchling") is None, reason="needs hatchling to build the wheel"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_it_holds_the_bundle_and_the_licences_but_not_the_checkpoint(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "qa_onnx/default_bundle/bundle.json" in names
    assert "qa_onnx/serve/page/page.html" in names
    assert "qa_onnx/bench/questions.json" in names
    assert "qa_onnx/default_bundle/README.md" in names  # attribution travels with the weights
    assert {Path(name).name for name in names if "/licenses/" in name} == {
        "LICENSE",
        "Apache-2.0.txt",
        "CC-BY-SA-4.0.txt",
    }
    assert not [name for name in names if name.endswith(".safetensors") or "tests" in name]
    assert len([name for name in names if name.startswith("qa_onnx/default_bundle/model-")]) == 2  # int8 and fp32
    assert wheel.stat().st_size < 62e6
    metadata = next(name for name in names if name.endswith("METADATA"))
    text = zipfile.ZipFile(wheel).read(metadata).decode()
    assert "License-Expression: Apache-2.0 AND CC-BY-SA-4.0" in text


def test_ci_keeps_to_versions_of_all_that_the_project_needs() -> None:
    lines = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line[0] != "#"]
    kept = {pin.name.lower().replace("_", "-"): pin.specifier for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needs = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra, more in project["project"]["optional-dependencies"].items():
        needs += more if extra not in {"gpu", "ray"} else []  # CI installs neither
    for need in map(Requirement, needs):
        if need.name != "qa-onnx":
            [version] = [pin.version for pin in kept[need.name.lower()]]
            assert need.specifier.contains(version), need
    assert not [line for line in lines if "/" in line and line[0] != "#"], "it names no place to install from"


def test_two_builds_are_the_same_byte_for_byte(wheel: Path, tmp_path: Path) -> None:
    """Also from another folder, with other times and a stricter umask, as on another machine."""
    copy = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "tests", "benchmarks", "models")
    shutil.copytree(ROOT, copy, ignore=ignored, copy_function=shutil.copyfile)
    for path in copy.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.utime(path, (1e9, 1e9))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    built = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, tmp_path / wheel.name)]
    assert built[0] == built[1]


def test_it_answers_from_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    python = str(home / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # The dependencies are borrowed from here, since tests do without a network. A .pth line adds their folder
    # but not the editable install that is in it.
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    code = (
        "import qa_onnx, sys\n"
        "reader = qa_onnx.Reader.load()\n"
        "print(qa_onnx.__file__, reader.ask('What colour is the boat?', 'The boat is blue.').text, sep='\\n')\n"
    )
    result = subprocess.run([python, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    place, answer = result.stdout.splitlines()
    assert Path(place).is_relative_to(home)
    assert answer == "blue"
    command = [str(home / "bin" / "qa-onnx"), "ask", "-q", "What colour?", "--context", "The boat is blue."]
    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout == b"blue\n"
    fp32 = subprocess.run([*command, "--precision", "fp32"], cwd=tmp_path, check=True, capture_output=True)
    assert (fp32.stdout, fp32.stderr) == (b"blue\n", b"")
    engine = subprocess.run([*command, "--engine", "openvino"], cwd=tmp_path, check=False, capture_output=True)
    if find_spec("openvino"):
        assert engine.stdout == b"blue\n"
    else:
        assert b"OpenVINO is not installed" in engine.stderr
    cuda = subprocess.run([*command, "--device", "cuda"], cwd=tmp_path, check=False, capture_output=True)
    assert cuda.stdout == b"blue\n" or b"cannot use device 'cuda'" in cuda.stderr  # the machine's fault, not ours
