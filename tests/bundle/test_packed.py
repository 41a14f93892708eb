"""Packed bundles: the same answers from one file, and archives that are none, each refused with its own words."""

from __future__ import annotations

import io
import pickle
import stat
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from qa_onnx import Bundle, BundleError, Reader
from qa_onnx.bundle import packed
from qa_onnx.bundle.files import MANIFEST
from qa_onnx.cli import main
from tests.conftest import TINY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXAMPLE = ("Who lit the lamp?", "The keeper lit the lamp at dusk.")
FILES = {path.name: path.read_bytes() for path in sorted(TINY.iterdir())}


@pytest.fixture(scope="module")
def qab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle in one file; not to be changed."""
    return packed.pack(Bundle.load(TINY), tmp_path_factory.mktemp("packed") / "tiny.qab")


def test_the_same_answers_from_one_file(qab: Path) -> None:
    for precision in ("fp32", "int8"):
        reader, other = (Reader.load(place, precision=precision, threads=1) for place in (qab, TINY))
        assert reader.ask(*EXAMPLE) == other.ask(*EXAMPLE)
        assert pickle.loads(pickle.dumps(reader)).ask(*EXAMPLE) == other.ask(*EXAMPLE)
    bundle = Bundle.load(str(qab))
    assert bundle.manifest == Bundle.load(TINY).manifest
    assert bundle.damaged_files() == ()


def test_the_same_bundle_gives_the_same_bytes(qab: Path, tiny_copy: Path) -> None:
    for path in tiny_copy.iterdir():
        path.touch()
        path.chmod(0o600)
    assert packed.pack(Bundle.load(tiny_copy), tiny_copy / "again.qab").read_bytes() == qab.read_bytes()
    assert packed.pack(Bundle.load(qab), tiny_copy / "of-packed.qab").read_bytes() == qab.read_bytes()
    assert [path.name for path in tiny_copy.glob(".*")] == []


def test_zip_programs_read_it(qab: Path) -> None:
    with zipfile.ZipFile(qab) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert archive.namelist()[0] == MANIFEST


@pytest.mark.parametrize(
    "command",
    [
        ("ask", "-q", "Who?", "--context", "The keeper."),
        ("inspect", "--verify"),
        ("inspect", "--json"),
        ("report",),
        ("tune", "--forget"),
    ],
)
def test_commands_take_it(qab: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QA_ONNX_INSTRUCTION_SETS", "avx2")  # for which nothing is advised
    folder, file = (
        CliRunner().invoke(main, [command[0], "-b", str(place), *command[1:]]) for place in (TINY, qab)
    )
    assert file.exit_code == folder.exit_code, file.output
    assert file.stdout.replace(str(qab), str(TINY)) == folder.stdout


def test_pack_says_what_it_wrote(tmp_path: Path, qab: Path) -> None:
    done = CliRunner().invoke(main, ["pack", str(TINY), "--to", str(tmp_path / "new.qab")])
    assert (done.exit_code, done.stdout) == (
        0,
        f"{tmp_path}/new.qab: 6 files, 0.2 MB; try: qa-onnx inspect -b {tmp_path}/new.qab --verify\n",
    )
    assert (tmp_path / "new.qab").read_bytes() == qab.read_bytes()


@pytest.mark.parametrize(
    ("bundle", "target", "words"),
    [
        ("{here}/none", "x.qab", "none is not a bundle: it does not exist"),
        (str(TINY), "none/x.qab", "none does not exist"),
        (str(TINY), ".", "cannot write"),
    ],
)
def test_what_cannot_be_packed_is_one_line(bundle: str, target: str, words: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["pack", bundle.format(here=tmp_path), "--to", str(tmp_path / target)])
    assert done.exit_code == 1
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_and_one_that_is_too_large_are_not_packed(
    tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "kept.qab"
    target.write_text("kept")
    monkeypatch.setattr(packed, "LARGEST", 200_000)
    with pytest.raises(
        BundleError, match=r"has .* bytes, and a packed bundle at most 200,000: keep it as a folder"
    ):
        packed.pack(Bundle.load(tiny_copy), target)
    monkeypatch.undo()
    bundle = Bundle.load(tiny_copy)
    path = tiny_copy / bundle.graph("int8").file.name
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(BundleError, match="was changed or damaged"):
        packed.pack(bundle, target)
    assert target.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.qab", "tiny-bert"]


# Archives that are no bundle


def archive(*members: tuple[str | zipfile.ZipInfo, bytes], **options: Any) -> bytes:
    """A zip archive by Python's own writer, of these members after the bundle's."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", **options) as file:
        for member, content in (*FILES.items(), *members):
            file.writestr(member, content)
    return made.getvalue()


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("model-0123456789abcdef.onnx")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


def changed(offset: int, form: str, value: int, *, central: bool = True) -> Callable[[bytes], bytes]:
    """Change a field of the directory's last entry, or of the first local header."""

    def change(data: bytes) -> bytes:
        copy = bytearray(data)
        struct.pack_into(form, copy, (data.rindex(b"PK\1\2") if central else 0) + offset, value)
        return bytes(copy)

    return change


def ended(offset: int, form: str, value: int) -> Callable[[bytes], bytes]:
    """Change a field of the end of the archive."""

    def change(data: bytes) -> bytes:
        copy = bytearray(data)
        struct.pack_into(form, copy, len(data) - 22 + offset, value)
        return bytes(copy)

    return change


def without_directory_entry(data: bytes) -> bytes:
    """The last member stays, but the directory does not list it."""
    end, last = data[-22:], data.rindex(b"PK\1\2")
    fields = list(struct.unpack("<4s4H2LH", end))
    fields[3] = fields[4] = fields[3] - 1
    fields[5] -= len(data) - 22 - last
    return data[:last] + struct.pack("<4s4H2LH", *fields)


def moved(data: bytes) -> bytes:
    """Something lies before the first member, and all offsets are right."""
    before, copy = b"#!/bin/sh\n", bytearray(data)
    at = start = struct.unpack_from("<L", data, len(data) - 6)[0]
    while copy[at : at + 4] == b"PK\1\2":
        struct.pack_into("<L", copy, at + 42, struct.unpack_from("<L", copy, at + 42)[0] + len(before))
        at += 46 + struct.unpack_from("<H", copy, at + 28)[0]
    struct.pack_into("<L", copy, len(data) - 6, start + len(before))
    return before + bytes(copy)


NEW = "model-0123456789abcdef.onnx"
REFUSED: dict[str, tuple[bytes | Callable[[bytes], bytes], str]] = {
    "no archive": (b"no archive at all, but long enough", "it does not end as a zip archive"),
    "empty": (b"", "it does not end as a zip archive"),
    "cut": (lambda data: data[:-1], "it does not end as a zip archive"),
    "longer": (lambda data: data + b"\0", "it does not end as a zip archive"),
    "half": (lambda data: data[: len(data) // 2], "it does not end as a zip archive"),
    "comment": (lambda data: ended(20, "<H", 3)(data) + b"abc", "it does not end as a zip archive"),
    "before": (lambda data: b"#!/bin/sh\n" + data, "its directory does not lie right before its end"),
    "before, moved": (moved, "the header of bundle.json is not what its directory says, or does not follow"),
    "absolute": (archive(("/etc/passwd", b"x")), "its member /etc/passwd leads out of the bundle"),
    "parent": (archive(("../model.onnx", b"x")), "its member ../model.onnx leads out of the bundle"),
    "inner parent": (archive(("a/../../b", b"x")), "leads out of the bundle"),
    "drive": (archive(("C:model.onnx", b"x")), "leads out of the bundle"),
    "backslash": (archive(("\\model.onnx", b"x")), "leads out of the bundle"),
    "folder": (archive(("sub/model.onnx", b"x")), "its member sub/model.onnx has the name of no bundle's file"),
    "other name": (archive(("run.py", b"x")), "its member run.py has the name of no bundle's file"),
    "escapes": (archive(("a\x1b[31m\n", b"x")), r"its member a\\x1b\[31m\\n has the name of no"),
    "link": (archive((link(), b"/etc/passwd")), f"its member {NEW} is a link"),
    "encrypted": (changed(8, "<H", 1), "is encrypted"),
    "compressed": (archive((NEW, bytes(1 << 20)), compression=zipfile.ZIP_DEFLATED), "bundle.json is compressed;"),
    "bomb": (changed(24, "<L", 1 << 31), "the entry of .* in its directory is not as qa-onnx pack writes it"),
    "other size stored": (changed(20, "<L", 5), "in its directory is not as qa-onnx pack writes it"),
    "other program's": (archive(), "the entry of bundle.json in its directory is not as qa-onnx pack"),
    "local header": (changed(14, "<L", 7, central=False), "the header of bundle.json is not what its directory"),
    "local name": (
        changed(30, "<H", 0x4141, central=False),
        "the header of bundle.json is not what its directory",
    ),
    "other place": (changed(42, "<L", 0), "the header of .* is not what its directory says, or does not follow"),
    "place behind the end": (changed(42, "<L", 0xFFFFFFFF), "the header of .* is not what its directory says"),
    "hidden member": (without_directory_entry, "there is something between its last member and its directory"),
    "no members": (b"PK\5\6" + bytes(18), "it has 0 members in 1 parts; 1 to 64 in one part can be read"),
    "many members": (ended(10, "<H", 9999), "it has 9999 members"),
    "many here": (lambda data: ended(8, "<H", 65)(ended(10, "<H", 65)(data)), "it has 65 members in 1 parts"),
    "parts": (ended(4, "<H", 1), "in 2 parts"),
    "more members": (lambda data: ended(8, "<H", 7)(ended(10, "<H", 7)(data)), "lists fewer members than its end"),
    "fewer members": (lambda data: ended(8, "<H", 5)(ended(10, "<H", 5)(data)), "lists more members than its end"),
    "huge directory": (ended(12, "<L", 1 << 31), "its directory does not lie right before its end"),
    "directory elsewhere": (ended(16, "<L", 7), "its directory does not lie right before its end"),
    "ZIP64": (ended(16, "<L", 0xFFFFFFFF), "its directory does not lie right before its end"),
    "extra field": (changed(30, "<H", 4), "its directory lists more members than its end says"),
    "time": (changed(12, "<H", 4), "in its directory is not as qa-onnx pack writes it"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_archive_that_is_no_bundle_is_refused(kind: str, qab: Path, tmp_path: Path) -> None:
    made, words = REFUSED[kind]
    path = tmp_path / "hostile.qab"
    path.write_bytes(made if isinstance(made, bytes) else made(qab.read_bytes()))
    with pytest.raises(BundleError, match=f"hostile.qab is no packed bundle: .*{words}") as refused:
        Reader.load(path)
    assert str(refused.value).endswith("qa-onnx pack makes one of a bundle's folder")
    shown = CliRunner().invoke(main, ["inspect", "-b", str(path)])
    assert (shown.exit_code, shown.stderr.count("\n")) == (1, 1)


def archived(*members: packed.Member, content: bytes = b"") -> bytes:
    """An archive of members; the first one has the content, the others are empty."""
    files = b"".join(member.local() + (b"" if number else content) for number, member in enumerate(members))
    directory = b"".join(member.central() for member in members)
    count = len(members)
    return files + directory + packed._END.pack(b"PK\5\6", 0, 0, count, count, len(directory), len(files), 0)


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    first = packed.Member(MANIFEST, 0, 0, 0)
    path = tmp_path / "twice.qab"
    path.write_bytes(archived(first, packed.Member(MANIFEST, 0, 0, len(first.local()))))
    with pytest.raises(BundleError, match=r"its member bundle\.json is there twice"):
        Bundle.load(path)


def test_a_member_that_the_manifest_names_must_be_there(tmp_path: Path) -> None:
    manifest = FILES[MANIFEST]
    path = tmp_path / "alone.qab"
    path.write_bytes(archived(packed.Member(MANIFEST, zlib.crc32(manifest), len(manifest), 0), content=manifest))
    with pytest.raises(BundleError, match=r"alone\.qab holds no tokenizer-"):
        Bundle.load(path)


@pytest.mark.parametrize("name", sorted(FILES.keys() - {MANIFEST}))
def test_a_changed_byte_in_a_member_is_found(name: str, qab: Path, tmp_path: Path) -> None:
    data = bytearray(qab.read_bytes())
    data[data.index(FILES[name]) + len(FILES[name]) // 2] ^= 1
    path = tmp_path / "changed.qab"
    path.write_bytes(data)
    [damaged] = Bundle.load(path).damaged_files()
    assert f"changed.qab/{name} was changed or damaged" in damaged


def test_a_bundle_reads_the_directory_once_however_many_files_it_has(
    qab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    members = packed._members

    def count(path: Path, *rest: Any) -> dict[str, packed.Member]:
        read.append(path)
        return members(path, *rest)

    monkeypatch.setattr(packed, "_members", count)
    bundle = Bundle.load(qab)
    assert bundle.damaged_files() == ()
    assert sum(1 for _ in bundle.manifest.files()) > 2
    assert len(read) == 2  # the other time for the manifest
