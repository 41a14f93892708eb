"""Key + bundle.json <-> bundle.sig: who vouches for a bundle.

    bundle.sig --signs--> bundle.json --size and SHA-256--> every other file

A signature is Ed25519 (RFC 8032) over a fixed prefix and the exact bytes of bundle.json. Because of the prefix,
what the same key signed for another purpose never counts as a signature of a bundle. A bundle has one.

Left out: who is to be trusted, and older versions of a bundle: their signatures stay valid.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import DecodeError, Meta, Struct
from msgspec.json import decode

from qa_onnx.bundle.files import MANIFEST, SIGNATURE, SIGNATURE_LIMIT, files_of, manifest_bytes, read_bounded
from qa_onnx.bundle.folder import Bundle
from qa_onnx.bundle.manifest import Sha256, decode_manifest
from qa_onnx.errors import BundleError, InputError
from qa_onnx.machine import regular_files
from qa_onnx.machine.files import replacing
from qa_onnx.machine.packages import require

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_LIMIT = 1 << 14  # bytes of a key file; one of Ed25519 has 119

_PREFIX = b"qa-onnx bundle signature 1\0"
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_MAKE_KEYS = "qa-onnx keygen makes a pair of keys"


KeySource = str | Path | bytes  # the path of a PEM file, or its content


class Signature(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of bundle.sig.

    Attributes:
        format: of the file.
        algorithm: of the signature.
        key: SHA-256 of the signer's public key (32 bytes), for messages; a verifier brings the key itself.
        signature: 64 bytes, in hexadecimal.
    """

    format: Literal["qa-onnx signature 1"]
    algorithm: Literal["ed25519"]
    key: Sha256
    signature: Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]


class PublicKey:
    """A key that verifies signatures.

    Args:
        source: path of a PEM file, as `qa-onnx keygen` and OpenSSL write it, or its content as bytes.

    Raises:
        InputError: it cannot be read, or is not the public key of an Ed25519 pair.
        MissingExtraError: cryptography is not installed.

    Attributes:
        name: of the file, for messages.
        id: see `Signature.key`.
    """

    def __init__(self, source: KeySource) -> None:
        require("sign")
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        pem, self.name = _read_key(source, "public")
        try:
            key = load_pem_public_key(pem)
        except (
            Exception
        ) as error:  # cryptography documents ValueError and UnsupportedAlgorithm; it is a key of others
            raise InputError(f"{self.name} holds a damaged public key: {error}", remedy=_MAKE_KEYS) from error
        if not isinstance(key, Ed25519PublicKey):
            raise InputError(f"{self.name} holds a key that is not Ed25519's", remedy=_MAKE_KEYS)
        self._key = key
        self.id = _key_id(key)

    def verify(self, manifest: bytes, folder: Path) -> None:
        """Check that the signature in a bundle's folder is this key's, over these bytes of its bundle.json.

        Raises:
            BundleError: there is no signature, it is damaged or another key's, or bundle.json was changed.
        """
        from cryptography.exceptions import InvalidSignature

        signature = read_signature(folder)
        if signature is None:
            problem = f"{folder} is not signed: it has no {SIGNATURE}"
            raise BundleError(problem, remedy="its owner signs it with qa-onnx sign")
        if signature.key != self.id:
            raise BundleError(
                f"{folder} is signed by the key {signature.key[:16]}, not by {self.id[:16]} of {self.name}",
                remedy="use the public key of its owner, or a bundle of the owner whom you trust",
            )
        try:
            self._key.verify(bytes.fromhex(signature.signature), _PREFIX + manifest)
        except InvalidSignature:
            raise BundleError(
                f"{folder / MANIFEST} is not what the key {self.id[:16]} signed: one of the two files was changed",
                remedy="get the bundle again from its owner; who changed it on purpose signs it again",
            ) from None


def sign(bundle: Path, private_key: Path) -> Signature:
    """Sign a bundle: write bundle.sig beside its bundle.json, in one step; an older signature is replaced.

    Args:
        bundle: its folder; all its files must have the size and hash that bundle.json says.
        private_key: path of a PEM file, Ed25519, without a passphrase.

    Raises:
        BundleError: it is not a bundle, or damaged; or the folder cannot be written to.
        InputError: the key is not the private key of an Ed25519 pair.
        MissingExtraError: cryptography is not installed.
    """
    if bundle.is_file():
        raise BundleError(f"{bundle} is a packed bundle", remedy="sign its folder, and pack it again")
    key = _private_key(private_key)
    data = manifest_bytes(bundle)
    damaged = Bundle(bundle, decode_manifest(data, str(bundle / MANIFEST))).damaged_files()
    if damaged:
        raise BundleError(f"{bundle} is damaged and was not signed: {damaged[0]}")
    signature = Signature(
        format="qa-onnx signature 1",
        algorithm="ed25519",
        key=_key_id(key.public_key()),
        signature=key.sign(_PREFIX + data).hex(),
    )
    text = json.dumps({name: getattr(signature, name) for name in Signature.__struct_fields__}, indent=1) + "\n"
    try:
        for left in bundle.glob(f"*{SIGNATURE}.*.partial"):  # by a run that was killed
            left.unlink(missing_ok=True)
        with replacing(bundle / SIGNATURE) as file:
            file.write(text.encode("ascii"))
    except OSError as error:
        raise BundleError(f"cannot write {bundle / SIGNATURE}: {error.strerror}; it is unchanged") from error
    return signature


def read_signature(bundle: Path) -> Signature | None:
    """Return the signature that lies in a bundle, unchecked; None: there is none.

    Raises:
        BundleError: bundle.sig is damaged.
    """
    files = files_of(bundle)
    if not files.holds(SIGNATURE):
        return None
    try:
        return decode(read_bounded(files, SIGNATURE, SIGNATURE_LIMIT), type=Signature)
    except (BundleError, ValueError, DecodeError, RecursionError) as error:
        problem = f"{bundle / SIGNATURE} is no signature: {error}"
        raise BundleError(problem, remedy="get the bundle again from its owner") from error


def make_keys(name: Path) -> tuple[Path, Path, str]:
    """Make a pair of keys: NAME.private.pem, which only its owner may read, and NAME.public.pem.

    Returns:
        The paths of both, and the id of the key.

    Raises:
        InputError: one of the files exists, which is never replaced, or cannot be written.
        MissingExtraError: cryptography is not installed.
    """
    require("sign")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if name.name in ("", ".."):
        raise InputError(f"{str(name)!r} is no name for keys", remedy="give one such as release, or keys/release")
    paths = (name.with_name(f"{name.name}.private.pem"), name.with_name(f"{name.name}.public.pem"))
    made: list[Path] = []
    try:
        for path, content, mode in zip(paths, (private, public), (0o600, 0o644), strict=True):
            with open(path, "xb", opener=partial(os.open, mode=mode)) as file:
                made.append(path)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            problem = f"{error.filename} exists, and a key is never replaced"
            raise InputError(problem, remedy="choose another name") from error
        raise InputError(f"cannot write keys to {name.parent}: {error.strerror}") from error
    return *paths, _key_id(key.public_key())


def _private_key(path: Path) -> Ed25519PrivateKey:
    require("sign")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem, name = _read_key(path, "private")
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        problem = f"{name} has a passphrase, which qa-onnx does not ask for"
        raise InputError(problem, remedy="openssl pkey -in FILE -out NEW writes it without one") from error
    except Exception as error:
        raise InputError(f"{name} holds a damaged private key: {error}", remedy=_MAKE_KEYS) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{name} holds a key that is not Ed25519's", remedy=_MAKE_KEYS)
    return key


def _read_key(source: KeySource, wanted: Literal["public", "private"]) -> tuple[bytes, str]:
    """Return the content of a key file and its name, after checking that it holds one key, of the wanted half."""
    if isinstance(source, bytes):
        pem, name = source, f"the {wanted} key"
    elif isinstance(source, (str, Path)):
        name = str(source)
        try:
            pem = regular_files.read_bounded(Path(source), KEY_LIMIT)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot read the {wanted} key {name}: {reason}", remedy=_MAKE_KEYS) from error
    else:
        kind = type(source).__name__
        raise InputError(
            f"the {wanted} key is a {kind}; it must be the path of a PEM file, or its content as bytes"
        )
    kinds = [kind.decode() for kind in _PEM.findall(pem)]
    if len(kinds) != 1:
        raise InputError(f"{name} holds {len(kinds)} keys in PEM; it must hold one", remedy=_MAKE_KEYS)
    if ("PRIVATE" in kinds[0]) != (wanted == "private"):
        if wanted == "public":
            raise InputError(
                f"{name} is a private key, which only the owner of bundles may have",
                remedy="give the public key here, and keep the private one away from machines that verify",
            )
        raise InputError(
            f"{name} holds a {kinds[0].lower()}, not a private key", remedy="sign with the private one"
        )
    return pem, name


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()
