"""A name on the Hugging Face hub -> the folder of its bundle, in the hub's cache on this machine.

    "org/name", revision --ask the hub--> commit --> bundle.json --> the files that it names, and no others

A branch or tag is resolved to a commit, and all files are of that commit. What the cache holds is not fetched
again, and without a network the cache alone answers. A file's size is compared with the manifest before it is
fetched, and its SHA-256 afterwards. The cache, the login and the variables HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE
are those of huggingface_hub.

Left out: which names are folders (folder.py), and writing to the hub.
"""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qa_onnx.bundle.files import MANIFEST, MANIFEST_LIMIT, SIGNATURE
from qa_onnx.bundle.folder import Bundle, read_manifest
from qa_onnx.bundle.repair import meant_bundle
from qa_onnx.errors import BundleError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qa_onnx.bundle.manifest import FileEntry
    from qa_onnx.bundle.signature import KeySource
    from qa_onnx.errors import QaOnnxError

_LOG = logging.getLogger(__name__)
_LOGIN = "hf auth login"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRepository:
    """A repository on the hub, at a revision.

    Attributes:
        name: "org/name".
        revision: branch, tag or commit.
        endpoint: URL of the hub; None: that of huggingface_hub, https://huggingface.co unless HF_ENDPOINT is set.
        cache: folder of the downloads; None: that of huggingface_hub.
    """

    name: str
    revision: str = "main"
    endpoint: str | None = None
    cache: Path | None = None

    def fetch(self, require_signature: KeySource | None = None) -> Path:
        """Return the folder of the bundle in the cache, after fetching what is missing there.

        Args:
            require_signature: public key that must have signed it, which is checked before graphs are fetched.

        Raises:
            MissingExtraError: huggingface_hub is not installed.
            BundleError: there is no such repository or revision, it may not be read, it holds no bundle, or a
                damaged one; the key did not sign it; or the hub cannot be reached and the cache lacks a file.
            BundleFormatError: the bundle was written by a newer release.
        """
        try:
            import huggingface_hub  # noqa: F401  # only now: it takes 0.2 s to import
        except ImportError as error:
            raise MissingExtraError(
                f"{self.name} is not a folder here, and without huggingface_hub the hub cannot be asked ({error})",
                remedy=meant_bundle(self.name) or "check the path, or pip install 'qa-onnx[hub]'",
            ) from error
        folder = self._fetch(MANIFEST, self.revision, None).parent  # it is named by the commit
        if require_signature is not None:
            self._fetch(SIGNATURE, folder.name, None)
        bundle = Bundle(folder, read_manifest(folder, require_signature=require_signature))
        for entry in bundle.manifest.files():
            if not (folder / entry.name).exists():
                self._fetch(entry.name, folder.name, entry)
                _check_hash(bundle, entry)
        return folder

    def _fetch(self, file: str, revision: str, entry: FileEntry | None) -> Path:
        """Return the path of a file in the cache, after fetching it unless it is there.

        Args:
            file: its name.
            revision: branch, tag or commit.
            entry: what the manifest says of it; None for the manifest itself, and its signature.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

        where: dict[str, Any] = {"revision": revision, "cache_dir": self.cache}
        cached: object = None
        try:
            with self._explained(file):
                cached = try_to_load_from_cache(self.name, file, **where)
                if isinstance(cached, str) and _COMMIT.fullmatch(revision):
                    return Path(cached)
                url = hf_hub_url(self.name, file, revision=revision, endpoint=self.endpoint)
                known = get_hf_file_metadata(url, endpoint=self.endpoint)
                if known.commit_hash is None:
                    raise ConnectionError(f"what answers at {url} is no hub")
                self._check_size(file, known.size, entry)
                bar = _silent()
                return Path(hf_hub_download(self.name, file, endpoint=self.endpoint, tqdm_class=bar, **where))
        except _UnreachableError as error:
            if not isinstance(cached, str):
                raise BundleError(
                    f"{self.name} is not a folder here, {error}, and its cache on this machine lacks {file} of "
                    f"revision {self.revision}",
                    remedy=meant_bundle(self.name)
                    or "check the path or the network; once fetched, a bundle loads without a network",
                ) from error
            _LOG.info("%s; %s of the cache is used", error, self.name)
            return Path(cached)

    def _check_size(self, file: str, size: int | None, entry: FileEntry | None) -> None:
        """Refuse a file of another size than the manifest says; a manifest or signature that is too large."""
        if entry is None and (size is None or size > MANIFEST_LIMIT):
            problem = f"{file} of {self.name} is larger than {MANIFEST_LIMIT} bytes, or of unknown size"
            raise BundleError(f"{problem}: it is not that of a bundle")
        if entry is not None:
            if size != entry.size:
                raise BundleError(
                    f"{file} of {self.name} has {size} bytes on the hub, {MANIFEST} says {entry.size}",
                    remedy="use another revision; the owner of the repository must upload the bundle again",
                )
            _LOG.info("fetching %s of %s, %.1f MB", file, self.name, entry.size / 1e6)

    @contextlib.contextmanager
    def _explained(self, file: str) -> Iterator[None]:
        """Translate what huggingface_hub raises."""
        from huggingface_hub import errors

        try:
            with refusals(BundleError, self.name, self.revision, meant=meant_bundle, endpoint=self.endpoint):
                yield
        except errors.LocalEntryNotFoundError as error:
            raise _UnreachableError(error) from error
        except errors.EntryNotFoundError as error:
            raise self._no_bundle(file) from error
        except (errors.HTTPError, ConnectionError) as error:  # type: ignore[attr-defined]  # of httpx, or httpx2
            raise _UnreachableError(error) from error
        except OSError as error:
            raise BundleError(f"{file} of {self.name} cannot be kept in the hub's cache: {error}") from error

    def _no_bundle(self, file: str) -> BundleError:
        if file == SIGNATURE:
            problem = f"{self.name} on the hub is not signed: it has no {SIGNATURE}"
            return BundleError(problem, remedy="its owner signs it with qa-onnx sign, and uploads it again")
        if file != MANIFEST:
            problem = f"{self.name} on the hub lacks {file}, which its {MANIFEST} names"
            return BundleError(problem, remedy="use another revision")
        target = f"exported/{self.name.partition('/')[2]}"
        return BundleError(
            f"{self.name} is not a folder here, and the repository of that name on the hub holds no {file}",
            remedy=f"if it is a model, qa-onnx export {self.name} --to {target} makes a bundle of it, in {target}",
        )


@contextlib.contextmanager
def refusals(
    kind: type[QaOnnxError],
    name: str,
    revision: str,
    *,
    meant: Callable[[str], str],
    endpoint: str | None = None,
) -> Iterator[None]:
    """Translate what huggingface_hub raises where the hub does not give a repository; other errors pass.

    Args:
        kind: of the new error.
        name: of the repository.
        revision: that was asked for.
        meant: returns the remedy where there is something like the name here, else "".
        endpoint: URL of the hub; None: that of huggingface_hub.
    """
    from huggingface_hub import constants, errors

    page = f"{endpoint or constants.ENDPOINT}/{name}"
    try:
        yield
    except errors.GatedRepoError as error:
        problem = f"{name} on the hub is gated: only accounts that its owner accepts may read it"
        raise kind(problem, remedy=f"ask for access at {page}, then {_LOGIN}") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        problem = f"{name} is neither a folder here nor a repository on the hub that you may read"
        remedy = meant(name) or f"check the path or the name; for a private repository, {_LOGIN}"
        raise kind(problem, remedy=remedy) from error
    except errors.RevisionNotFoundError as error:
        problem = f"{name} on the hub has no revision {revision}"
        raise kind(problem, remedy=f"use a branch, tag or commit that {page} lists") from error


class _UnreachableError(Exception):
    """The hub does not answer, so that only the cache may help."""

    def __init__(self, error: BaseException) -> None:
        reason = " ".join(str(error.__cause__ or error).split())
        super().__init__(f"the hub cannot be reached ({reason:.200})")


def _check_hash(bundle: Bundle, entry: FileEntry) -> None:
    """Check a file that was just fetched; if its hash is wrong, remove it, so that it is fetched again."""
    try:
        bundle.check(entry)
    except BundleError:
        path = bundle.path / entry.name
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise


def _silent() -> type[Any]:
    """Return a progress bar that shows nothing: a library prints nothing."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class SilentBar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]

    return SilentBar
