"""What several test files share: the tiny bundle, and the optional shared data."""

from __future__ import annotations

import gc
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from qa_onnx import Bundle, QaOnnxError, Reader, Windower
from qa_onnx.engines.names import Backend
from qa_onnx.engines.sessions import check_usable
from qa_onnx.testing import FakeSession as FakeSession  # noqa: PLC0414  # other files import it from here
from tests.exports import edit_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

    from tests.browser import Visit
    from tests.served import Served

TINY = Path(__file__).parent / "data" / "tiny-bert"
TINY_TOKENIZER = next(TINY.glob("tokenizer-*.json"))
SHARED = Path(__file__).parents[2] / "shared"

settings.register_profile("untimed", deadline=None)  # a busy machine is no defect
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="module")
def young_heap() -> None:
    """What is loaded by now is not looked at again: with torch, each collection would cost an export 0.3 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder of the tests' own: what the user has tuned must not show in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_bundle() -> Bundle:
    """The committed tiny BERT, random weights, fp32 and int8."""
    return Bundle.load(TINY)


@pytest.fixture(scope="session")
def tiny_reader(tiny_bundle: Bundle) -> Reader:
    """Reader of the tiny BERT in fp32, one thread."""
    return Reader.load(tiny_bundle, precision="fp32", threads=1)


@pytest.fixture(scope="session")
def windower(tiny_bundle: Bundle) -> Windower:
    """Windower of the tiny BERT's tokenizer."""
    return Windower(tiny_bundle.text(tiny_bundle.manifest.tokenizer), cls_id=tiny_bundle.manifest.cls_id)


@pytest.fixture
def tiny_copy(tmp_path: Path) -> Path:
    """A copy of the tiny bundle's folder, to damage."""
    return Path(shutil.copytree(TINY, tmp_path / "tiny-bert"))


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite a bundle's manifest after `change` edited its content."""
    edit_json(folder / "bundle.json", change)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with SQuAD and reference outputs; tests that use it skip where it is not."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED.name} folder beside the checkout: it holds SQuAD and reference outputs")
    return SHARED


@pytest.fixture(scope="session")
def cuda() -> None:
    """Skips, with the reason, where the GPU cannot be used."""
    _skip_without("onnxruntime/cuda")


@pytest.fixture(scope="session")
def tensorrt() -> None:
    """Skips, with the reason, where TensorRT cannot be used."""
    _skip_without("tensorrt/cuda")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, once for each file: while it runs, its thread has an event loop."""
    from tests.browser import chromium

    with chromium() as running:
        yield running


@pytest.fixture
def here(browser: Browser, served: Served) -> Iterator[Visit]:
    """Somebody at the page of the file's own server."""
    from tests.browser import visit

    with visit(browser, served) as seen:
        yield seen


def _skip_without(backend: str) -> None:
    try:
        check_usable(Backend.parse(backend))
    except QaOnnxError as error:
        pytest.skip(f"needs {backend}: {error}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the export extra where it is not installed."""
    missing = [name for name in ("torch", "transformers", "optimum", "onnx") if find_spec(name) is None]
    if not missing:
        return
    skip = pytest.mark.skip(reason=f"needs qa-onnx[export]: {', '.join(missing)} not installed")
    for item in items:
        if item.get_closest_marker("export"):
            item.add_marker(skip)
