"""A bundle in one file, `.qab`: a zip archive whose members are stored as they are, read in place.

    local header, bundle.json | local header, file | ... | central directory | its end

A signature, bundle.sig, follows bundle.json. Any zip program reads it. The other way round, an archive is a bundle
only if each byte outside of the members is the one that `pack` would write: so all who read it see the same, and
nothing is hidden before, between or behind the members. The same bundle gives the same bytes: time and permissions
are constants.

Source of the layout: APPNOTE.TXT of PKWARE, 6.3.10, sections 4.3 and 4.4. Left out: archives of 4 GiB and more,
whose layout is another one (ZIP64).
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from qa_onnx.bundle.files import MANIFEST, SIGNATURE, SIGNATURE_LIMIT, manifest_bytes, read_bounded
from qa_onnx.errors import BundleError
from qa_onnx.machine.files import replacing
from qa_onnx.machine.regular_files import open_regular, read_exactly, real

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from qa_onnx.bundle.folder import Bundle

LARGEST = (1 << 32) - 2  # bytes of an archive without ZIP64
_MOST_MEMBERS = 64  # a bundle of all precisions has some 15 files
_NAME = re.compile(r"(bundle\.(json|sig)|(model|weights|tokenizer|golden)-[0-9a-f]{16}\.(onnx|data|json))\Z")
_REMEDY = "qa-onnx pack makes one of a bundle's folder"

# Signature, version needed, flags, method, time, date, CRC-32, size stored, size, length of name and extra field.
_LOCAL = struct.Struct("<4s5H3L2H")
# Signature, version made by, then the same, length of comment, disk, attributes inside and outside, offset.
_CENTRAL = struct.Struct("<4s6H3L5H2L")
# Signature, disk, disk of the directory, members here, all, size and offset of the directory, length of comment.
_END = struct.Struct("<4s4H2LH")
_VERSION, _UNIX = 20, 3 << 8
_DATE = (1 << 5) | 1  # 1 January 1980, the first that zip knows
_MODE = (stat.S_IFREG | 0o644) << 16
_ENCRYPTED = 1


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive: its name, its CRC-32, its size in bytes, and where its local header begins."""

    name: str
    crc: int
    size: int
    offset: int

    @property
    def start(self) -> int:
        """Where its content begins."""
        return self.offset + _LOCAL.size + len(self.name)

    def local(self) -> bytes:
        """Return its local header."""
        lengths = (self.size, self.size, len(self.name), 0)
        return _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _DATE, self.crc, *lengths) + self.name.encode()

    def central(self) -> bytes:
        """Return its entry of the central directory."""
        same = (_VERSION, 0, 0, 0, _DATE, self.crc, self.size, self.size, len(self.name), 0)
        rest = (0, 0, 0, _MODE, self.offset)
        return _CENTRAL.pack(b"PK\1\2", _UNIX | _VERSION, *same, *rest) + self.name.encode()


@dataclass(frozen=True)
class PackedFiles:
    """The files of a packed bundle, whose directory is read once; see `files.BundleFiles`."""

    path: Path

    @cached_property
    def _directory(self) -> dict[str, Member]:
        with self._opened() as (file, size):
            return _members(self.path, file, size)

    def holds(self, name: str) -> bool:
        """See `BundleFiles.holds`."""
        return name in self._directory

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        """See `BundleFiles.open`."""
        member = self._directory.get(name)
        if member is None:
            raise BundleError(f"{self.path} holds no {name}", remedy=_REMEDY)
        with self._opened() as (file, _):
            file.seek(member.start)
            yield file, member.size

    @contextmanager
    def _opened(self) -> Iterator[tuple[BinaryIO, int]]:
        """Open the archive; yield the file, and its size."""
        try:
            with open_regular(real(self.path)) as opened:
                yield opened
        except OSError as error:
            raise BundleError(f"{self.path} cannot be read: {error.strerror or error}") from error


def _members(path: Path, file: BinaryIO, size: int) -> dict[str, Member]:
    """Return the members of an archive by name.

    Raises:
        BundleError: it is no archive, or not one as `pack` writes it.
    """

    def refuse(problem: str) -> BundleError:
        return BundleError(f"{path} is no packed bundle: {problem}", remedy=_REMEDY)

    end = _read_at(file, max(0, size - _END.size), min(size, _END.size))
    if size > LARGEST:
        raise refuse(f"it has {size:,} bytes; {LARGEST:,} is the limit")
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise refuse("it does not end as a zip archive without a comment does")
    _, disk, first_disk, here, count, length, offset, comment = _END.unpack(end)
    if disk or first_disk or comment or here != count or not 0 < count <= _MOST_MEMBERS:
        raise refuse(f"it has {count} members in {disk + 1} parts; 1 to {_MOST_MEMBERS} in one part can be read")
    if offset + length + _END.size != size or length > count * (_CENTRAL.size + 64):
        raise refuse("its directory does not lie right before its end")
    members = _directory(_read_at(file, offset, length), count, refuse)
    position = 0
    for member in members:
        local = member.local()
        if member.offset != position or _read_at(file, position, len(local)) != local:
            raise refuse(
                f"the header of {member.name} is not what its directory says, or does not follow the last"
            )
        position = member.start + member.size
    if position != offset:
        raise refuse("there is something between its last member and its directory")
    return {member.name: member for member in members}


def _directory(data: bytes, count: int, refuse: Callable[[str], BundleError]) -> list[Member]:
    """Return the members that a central directory lists, in their order."""
    members: list[Member] = []
    entries: list[bytes] = []
    at = 0
    for _ in range(count):
        if len(data) < at + _CENTRAL.size or data[at : at + 4] != b"PK\1\2":
            raise refuse("its directory is damaged, or lists fewer members than its end says")
        fields = _CENTRAL.unpack_from(data, at)
        end = at + _CENTRAL.size + sum(fields[10:13])  # name, extra field and comment
        name = ascii(data[at + _CENTRAL.size :][: fields[10]].decode("latin-1"))[1:-1]
        if problem := _problem(name, fields[3], fields[4], fields[15], members):
            raise refuse(f"its member {name:.60} {problem}")
        members.append(Member(name, fields[7], fields[9], fields[16]))
        entries.append(data[at:end])
        at = end
    if at != len(data):
        raise refuse("its directory lists more members than its end says")
    for member, entry in zip(members, entries, strict=True):
        if entry != member.central():
            raise refuse(f"the entry of {member.name} in its directory is not as qa-onnx pack writes it")
    return members


def _problem(name: str, flags: int, method: int, attributes: int, members: Sequence[Member]) -> str:
    """Return why a member cannot be one; "": nothing speaks against it."""
    outside = name.startswith(("/", "\\")) or ":" in name or ".." in name
    problems = {
        "leads out of the bundle": outside,
        "is a link": stat.S_ISLNK(attributes >> 16),
        "has the name of no bundle's file": not _NAME.match(name),
        "is encrypted": flags & _ENCRYPTED,
        "is compressed; members must be stored as they are": method,
        "is there twice": any(member.name == name for member in members),
    }
    return next((problem for problem, found in problems.items() if found), "")


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return read_exactly(file, size)


def pack(bundle: Bundle, target: Path) -> Path:
    """Write a bundle as one file, which is there completely or not at all.

    Args:
        bundle: a bundle, whose files are checked while they are read.
        target: the file to write; its name should end in .qab.

    Returns:
        The target.

    Raises:
        BundleError: a file of the bundle is missing or damaged, the archive would be too large, or it cannot be
            written.
    """
    manifest, files = manifest_bytes(bundle.path), bundle.files
    signature = read_bounded(files, SIGNATURE, SIGNATURE_LIMIT) if files.holds(SIGNATURE) else None
    entries = sorted(bundle.manifest.files(), key=lambda entry: entry.name)
    total = len(manifest) + sum(entry.size for entry in entries) + 1024 * (len(entries) + 2)
    if total > LARGEST:
        raise BundleError(
            f"{bundle.path} has {total:,} bytes, and a packed bundle at most {LARGEST:,}",
            remedy="keep it as a folder, or export fewer precisions",
        )
    try:
        with replacing(target) as file:
            writer = _Writer(file)
            writer.add(MANIFEST, lambda write: write(manifest))
            if signature is not None:
                writer.add(SIGNATURE, lambda write: write(signature))
            for entry in entries:
                writer.add(entry.name, partial(bundle.check, entry))
            writer.finish()
    except OSError as error:
        raise BundleError(f"cannot write {target}: {error.strerror or error}; nothing was changed") from error
    return target


class _Writer:
    """Writes an archive, member after member."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._members: list[Member] = []

    def add(self, name: str, content: Callable[[Callable[[bytes], object]], object]) -> None:
        """Write a member; `content` is called with what writes a piece of it. Its header is written after it."""
        offset, crc = self._file.tell(), 0
        start = Member(name, 0, 0, offset).start
        self._file.seek(start)

        def write(piece: bytes) -> None:
            nonlocal crc
            crc = zlib.crc32(piece, crc)
            self._file.write(piece)

        content(write)
        end = self._file.tell()
        member = Member(name, crc, end - start, offset)
        self._file.seek(offset)
        self._file.write(member.local())
        self._file.seek(end)
        self._members.append(member)

    def finish(self) -> None:
        """Write the central directory and its end."""
        offset, count = self._file.tell(), len(self._members)
        directory = b"".join(member.central() for member in self._members)
        self._file.write(directory)
        self._file.write(_END.pack(b"PK\5\6", 0, 0, count, count, len(directory), offset, 0))
