"""Installed packages: versions, wheels and extras, read from metadata that the tests write."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qa_onnx import MissingExtraError, __version__
from qa_onnx.machine import packages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes packages as pip does, a folder with METADATA each, to the only folder that Python searches."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    def make(name: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
        extras = {line.split('extra == "')[1].rstrip('"') for line in requires if "extra" in line}
        lines += [f"Provides-Extra: {extra}" for extra in extras]
        lines += [f"Requires-Dist: {line}" for line in requires]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    return make


def test_this_environment() -> None:
    installed = packages.survey()
    assert installed.python == platform.python_version()
    assert installed.versions["qa-onnx"] == __version__
    assert installed.versions["numpy"] == np.__version__
    assert installed.unmet == ()


def test_the_wheels_of_onnx_runtime_are_told_apart(install: Callable[..., None]) -> None:
    bare = packages.survey()
    assert (bare.wheels, bare.extras, bare.unmet, bare.versions["openvino"]) == ({}, {}, (), None)
    install("onnxruntime-gpu", "1.31.1")
    assert packages.survey().wheels == {"onnxruntime-gpu": "1.31.1"}
    install("onnxruntime", "1.32.0")
    assert packages.survey().wheels == {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"}


def test_an_extra_lacks_what_is_missing_and_what_has_another_version(install: Callable[..., None]) -> None:
    requires = (
        "numpy>=1.26",
        'onnx<2,>=1.17; extra == "quantize"',
        'torch>=2.6; extra == "export"',
        'transformers>=5.3; extra == "export"',
        'onnxruntime-gpu[cuda,cudnn]>=1.22; extra == "gpu"',
        'anything; extra == "all"',
    )
    install("qa-onnx", requires=requires)
    install("numpy", "2.4.6")
    install("onnx", "2.0.0")
    install("torch", "2.13.0+cpu")
    install("transformers", "4.57.6")
    installed = packages.survey()
    assert installed.extras == {
        "quantize": ("onnx <2,>=1.17 (found 2.0.0)",),
        "export": ("transformers >=5.3 (found 4.57.6)",),
    }
    assert installed.unmet == ()


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("1.20.0", ">=1.20", True),
        ("1.9", ">=1.20", False),
        ("2026.4.1", ">=2025.2", True),
        ("2.0rc1", "<2", False),
        ("1.99.9.post1", ">=1.17,<2", True),
        ("5.3", ">=5.3.0", True),
        ("no version", ">=1", False),
    ],
)
def test_versions_are_compared_by_number(
    install: Callable[..., None], version: str, bounds: str, fits: bool
) -> None:
    install("qa-onnx", requires=(f'some{bounds}; extra == "more"',))
    install("some", version)
    assert (packages.survey().extras["more"] == ()) is fits


def test_a_runtime_that_is_too_old_and_a_missing_base_package_are_unmet(install: Callable[..., None]) -> None:
    install("qa-onnx", requires=("rich>=13", 'onnxruntime>=1.20; extra == "cpu"'))
    assert packages.survey().unmet == ("rich",)  # no runtime is not too old a runtime
    install("onnxruntime", "1.16.3")
    assert packages.survey().unmet == ("rich", "onnxruntime >=1.20 (found 1.16.3)")


def test_the_metadata_of_this_package_is_understood() -> None:
    try:
        provided = set(metadata.metadata("qa-onnx").get_all("Provides-Extra") or ())
    except metadata.PackageNotFoundError:
        pytest.skip("qa-onnx is imported from its folder here, without being installed")
    assert set(packages.survey().extras) == provided - {"all", "cpu", "gpu"}
    named = [line for line in metadata.requires("qa-onnx") or () if line.startswith("qa-onnx")]
    assert named == [], "the build writes out what an extra of an extra needs"


# require


@pytest.fixture
def extras(install: Callable[..., None]) -> Callable[..., None]:
    """The metadata of qa-onnx with some extras."""
    install(
        "qa-onnx",
        requires=(
            'numpy>=2; extra == "more"',
            'no-such-package; extra == "more"',
            'no-other-package>=3; extra == "more"',
            'no-other-package>=3; extra == "inner"',
            'numpy>=2; extra == "whole"',
        ),
    )
    return install


def test_all_that_is_missing_is_named_at_once_with_one_line_for_pip(extras: Callable[..., None]) -> None:
    extras("numpy", "1.26")
    with pytest.raises(MissingExtraError) as missing:
        packages.require("more")
    assert str(missing.value) == (
        "numpy >=2 (found 1.26), no-such-package, no-other-package not installed: pip install 'qa-onnx[more]'"
    )
    assert missing.value.remedy == "pip install 'qa-onnx[more]'"


def test_a_runtime_is_asked_for_in_the_same_line(
    extras: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(MissingExtraError, match=r"no-other-package, an ONNX Runtime .* 'qa-onnx\[cpu,inner\]'"):
        packages.require("inner", onnxruntime=True)
    extras("numpy", "2.4.6")
    with pytest.raises(MissingExtraError, match=r"^an ONNX Runtime not installed: pip install 'qa-onnx\[cpu\]'$"):
        packages.require("whole", onnxruntime=True)
    packages.require("whole")


def test_a_package_that_has_metadata_and_no_module_is_missing(extras: Callable[..., None]) -> None:
    extras("no-other-package", "3.1")
    with pytest.raises(MissingExtraError, match=r"^no-other-package not installed"):
        packages.require("inner")


@pytest.mark.export
def test_this_environment_lacks_nothing() -> None:
    for extra in ("quantize", "export", "train", "serve", "bench"):
        packages.require(extra, onnxruntime=True)
