"""Signatures: a bundle that must be signed loads only as its owner signed it, and signing never harms it."""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

from qa_onnx import Bundle, BundleError, InputError, MissingExtraError, Reader, pipeline
from qa_onnx.bundle import signature
from qa_onnx.bundle.files import MANIFEST, SIGNATURE, FolderFiles
from qa_onnx.bundle.packed import pack
from qa_onnx.cli import main
from tests.conftest import TINY, edit_manifest
from tests.exports import edit_json
from tests.fresh import printed

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("cryptography", reason="needs qa-onnx[sign]")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
PLAIN, INFO = serialization.NoEncryption(), serialization.PublicFormat.SubjectPublicKeyInfo


class Signed(NamedTuple):
    """A copy of the tiny bundle that is signed, and the keys."""

    bundle: Path
    private: Path
    public: Path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("signed")
    private, public, _ = signature.make_keys(folder / "owner")
    signature.make_keys(folder / "other")
    signature.sign(Path(shutil.copytree(TINY, folder / "bundle")), private)
    return Signed(folder / "bundle", private, public)


@pytest.fixture
def signed(original: Signed, tmp_path: Path) -> Signed:
    """One that the test may harm."""
    return original._replace(bundle=Path(shutil.copytree(original.bundle, tmp_path / "bundle")))


def pem(key: Any, kind: str) -> bytes:
    if kind == "private":
        return bytes(key.private_bytes(PEM, PKCS8, PLAIN))
    return bytes(key.public_key().public_bytes(PEM, INFO))


def run(*words: object) -> Any:
    return CliRunner().invoke(main, list(map(str, words)))


def test_a_signed_bundle_loads_wherever_its_signature_is_required(original: Signed) -> None:
    bundle, _, public = original
    assert Bundle.load(bundle, require_signature=public) == Bundle.load(bundle)
    reader = Reader.load(bundle, require_signature=public.read_bytes(), precision="fp32", threads=1)
    again = pickle.loads(pickle.dumps(reader))
    pipe = pipeline(model=str(bundle), require_signature=str(public), precision="fp32", threads=1)
    answer = reader.ask("Where is it?", "It is here, by the sea.")
    assert (
        answer
        == again.ask("Where is it?", "It is here, by the sea.")
        == Reader.load(bundle, threads=1, precision="fp32").ask("Where is it?", "It is here, by the sea.")
    )
    assert pipe("Where is it?", "It is here, by the sea.")["answer"] == answer.text
    asked = run("ask", "-b", bundle, "--require-signature", public, "-q", "Where?", "--context", "It is here.")
    assert asked.exit_code == 0, asked.output


def test_a_reader_that_was_pickled_wants_the_signature_again(signed: Signed) -> None:
    pickled = pickle.dumps(Reader.load(signed.bundle, require_signature=signed.public, threads=1))
    edit_manifest(signed.bundle, lambda content: content.update(temperature=2.0))
    with pytest.raises(BundleError, match="is not what the key"):
        pickle.loads(pickled)


def without(folder: Path) -> Path:
    """Remove the signature of a bundle; return its path."""
    path = folder / SIGNATURE
    path.unlink()
    return path


def change(folder: Path, **fields: object) -> None:
    edit_json(folder / SIGNATURE, lambda content: content.update(fields))


def sign_otherwise(folder: Path, prefix: bytes) -> None:
    """Sign with the owner's key, but not as a bundle is signed."""
    key = serialization.load_pem_private_key((folder.parent / "owner.private.pem").read_bytes(), None)
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    change(folder, signature=key.sign(prefix + (folder / MANIFEST).read_bytes()).hex())


NO_SIGNATURE = "bundle.sig is no signature: "
HARMS: list[tuple[str, Callable[[Path], object], str]] = [
    ("none", lambda folder: (folder / SIGNATURE).unlink(), "is not signed: it has no bundle.sig"),
    (
        "signed by another",
        lambda folder: signature.sign(folder, folder.parent / "other.private.pem"),
        "is signed by the key [0-9a-f]{16}, not by",
    ),
    ("other key's name", lambda folder: change(folder, key="0" * 64), "is signed by the key 0{16}, not by"),
    (
        "a field changed",
        lambda folder: edit_manifest(folder, lambda content: content.update(temperature=2.0)),
        "is not what the key [0-9a-f]{16} signed",
    ),
    (
        "a blank added",
        lambda folder: (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes() + b" "),
        "is not what the key",
    ),
    ("another signature", lambda folder: change(folder, signature="0" * 128), "is not what the key"),
    ("without the prefix", lambda folder: sign_otherwise(folder, b""), "is not what the key"),
    (
        "for another purpose",
        lambda folder: sign_otherwise(folder, b"qa-onnx bundle signature 2\0"),
        "is not what the key",
    ),
    ("a file changed", lambda folder: next(folder.glob("tokenizer-*")).write_bytes(b"{}"), "bundle.json says"),
    ("empty", lambda folder: (folder / SIGNATURE).write_bytes(b""), NO_SIGNATURE),
    ("no JSON", lambda folder: (folder / SIGNATURE).write_bytes(b"\xff\x00"), NO_SIGNATURE),
    ("nested", lambda folder: (folder / SIGNATURE).write_bytes(b"[" * 4000), NO_SIGNATURE),
    (
        "too large",
        lambda folder: (folder / SIGNATURE).write_bytes(b" " * 5000),
        NO_SIGNATURE,
    ),
    ("sparse", lambda folder: os.truncate(folder / SIGNATURE, 1 << 40), NO_SIGNATURE),
    ("a pipe", lambda folder: os.mkfifo(without(folder)), NO_SIGNATURE),
    (
        "a device",
        lambda folder: without(folder).symlink_to("/dev/zero"),
        NO_SIGNATURE,
    ),
    ("a folder", lambda folder: without(folder).mkdir(), NO_SIGNATURE),
    ("unknown field", lambda folder: change(folder, more=1), NO_SIGNATURE),
    ("newer format", lambda folder: change(folder, format="qa-onnx signature 2"), NO_SIGNATURE),
    ("other algorithm", lambda folder: change(folder, algorithm="none"), NO_SIGNATURE),
    ("short signature", lambda folder: change(folder, signature="00"), NO_SIGNATURE),
    ("signature not hex", lambda folder: change(folder, signature="g" * 128), NO_SIGNATURE),
    ("signature no text", lambda folder: change(folder, signature=10**400), NO_SIGNATURE),
    ("line after signature", lambda folder: change(folder, signature="0" * 128 + "\n"), NO_SIGNATURE),
]


@pytest.mark.parametrize(("harm", "message"), [row[1:] for row in HARMS], ids=[row[0] for row in HARMS])
def test_a_bundle_that_is_not_as_its_owner_signed_it_is_refused(
    signed: Signed, original: Signed, harm: Callable[[Path], object], message: str
) -> None:
    for name in ("owner", "other"):
        shutil.copy(original.private.with_name(f"{name}.private.pem"), signed.bundle.parent)
    harm(signed.bundle)
    with pytest.raises(BundleError, match=message):
        Reader.load(signed.bundle, require_signature=signed.public)
    verified = run("verify", signed.bundle, "--key", signed.public)
    assert (verified.exit_code, verified.stdout) == (1, "")
    assert verified.stderr.startswith("Error: ")


def test_a_file_with_the_size_but_not_the_hash_is_found_by_verify_and_before_it_is_used(signed: Signed) -> None:
    graph = signed.bundle / Bundle.load(signed.bundle).graph("fp32").file.name
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.write_bytes(content)
    assert "was changed or damaged" in run("verify", signed.bundle, "--key", signed.public).stderr
    with pytest.raises(BundleError, match="was changed or damaged"):
        Reader.load(signed.bundle, require_signature=signed.public, precision="fp32")


KEYS: list[tuple[str, Callable[[Signed], Any], str]] = [
    ("private", lambda it: it.private, "is a private key, which only the owner"),
    ("private as bytes", lambda it: it.private.read_bytes(), "the public key is a private key"),
    ("two", lambda it: it.public.read_bytes() * 2, "holds 2 keys in PEM; it must hold one"),
    ("both halves", lambda it: it.private.read_bytes() + it.public.read_bytes(), "holds 2 keys"),
    ("none", lambda it: b"", "holds 0 keys"),
    ("DER", lambda it: base64.b64decode(it.public.read_bytes().split(b"\n")[1]), "holds 0 keys"),
    ("damaged", lambda it: it.public.read_bytes().replace(b"MCo", b"MCp"), "holds a damaged public key"),
    (
        "certificate",
        lambda it: it.public.read_bytes().replace(b"PUBLIC KEY", b"CERTIFICATE"),
        "holds a damaged public key",
    ),
    ("RSA", lambda it: pem(rsa.generate_private_key(65537, 2048), "public"), "is not Ed25519's"),
    ("ECDSA", lambda it: pem(ec.generate_private_key(ec.SECP256R1()), "public"), "is not Ed25519's"),
    ("Ed448", lambda it: pem(ed448.Ed448PrivateKey.generate(), "public"), "is not Ed25519's"),
    ("X25519", lambda it: pem(x25519.X25519PrivateKey.generate(), "public"), "is not Ed25519's"),
    ("missing", lambda it: it.public.with_name("none.pem"), "cannot read the public key .*: No such file"),
    ("folder", lambda it: it.bundle, "cannot read the public key .*: Is a directory"),
    ("device", lambda it: "/dev/zero", "cannot read the public key /dev/zero: .* is a device, not a file"),
    ("no path", lambda it: "a\0b", "cannot read the public key"),
    ("large", lambda it: it.bundle / MANIFEST, "holds 0 keys"),
    ("number", lambda it: 1, "the public key is a int; it must be the path of a PEM file, or its content"),
]


@pytest.mark.parametrize(("key", "message"), [row[1:] for row in KEYS], ids=[row[0] for row in KEYS])
def test_what_is_no_public_key_of_ed25519_is_refused(
    original: Signed, key: Callable[[Signed], Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Bundle.load(original.bundle, require_signature=key(original))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (lambda it: it.public.read_bytes(), "holds a public key, not a private key: sign with the private one"),
        (lambda it: pem(rsa.generate_private_key(65537, 2048), "private"), "is not Ed25519's"),
        (lambda it: it.private.read_bytes().replace(b"MC4", b"MC5"), "holds a damaged private key"),
        (
            lambda _: ed25519.Ed25519PrivateKey.generate().private_bytes(
                PEM, PKCS8, serialization.BestAvailableEncryption(b"x")
            ),
            "has a passphrase",
        ),
    ],
    ids=["public", "RSA", "damaged", "passphrase"],
)
def test_what_is_no_private_key_signs_nothing(
    signed: Signed, tmp_path: Path, key: Callable[[Signed], bytes], message: str
) -> None:
    before = (signed.bundle / SIGNATURE).read_bytes()
    (tmp_path / "key.pem").write_bytes(key(signed))
    result = run("sign", signed.bundle, "--key", tmp_path / "key.pem")
    assert (result.exit_code, message in result.stderr) == (1, True), result.stderr
    assert (signed.bundle / SIGNATURE).read_bytes() == before


def test_the_commands_make_keys_sign_and_verify(tiny_copy: Path, tmp_path: Path) -> None:
    made = run("keygen", tmp_path / "release")
    private, public = tmp_path / "release.private.pem", tmp_path / "release.public.pem"
    assert made.exit_code == 0
    assert private.stat().st_mode & 0o777 == 0o600
    assert str(private) in made.stdout
    signing = run("sign", tiny_copy, "--key", private)
    assert (signing.exit_code, signing.stderr) == (0, "")
    verified = run("verify", tiny_copy, "--key", public)
    assert (verified.exit_code, verified.stderr) == (0, "")
    key = json.loads((tiny_copy / SIGNATURE).read_bytes())["key"]
    assert all(key in result.stdout for result in (made, signing, verified))
    private.chmod(0o644)
    assert "warning: other users may read" in run("sign", tiny_copy, "--key", private).stderr
    assert run("verify", tiny_copy, "--key", public).exit_code == 0


@pytest.mark.parametrize("half", ["private", "public"])
def test_keys_are_never_replaced_and_come_in_pairs(tmp_path: Path, half: str) -> None:
    (tmp_path / f"mine.{half}.pem").write_text("kept")
    refused = run("keygen", tmp_path / "mine")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"mine.{half}.pem exists, and a key is never replaced" in refused.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(("name", "message"), [("", "is no name for keys"), ("none/keys", "No such file")])
def test_keys_need_a_name_in_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in run("keygen", name).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_and_what_is_no_bundle_are_not_signed(signed: Signed, tmp_path: Path) -> None:
    next(signed.bundle.glob("model-*")).write_bytes(b"")
    before = (signed.bundle / SIGNATURE).read_bytes()
    result = run("sign", signed.bundle, "--key", signed.private)
    assert "is damaged and was not signed" in result.stderr
    assert (signed.bundle / SIGNATURE).read_bytes() == before
    assert "is not a bundle" in run("sign", tmp_path / "none", "--key", signed.private).stderr


def test_a_packed_bundle_keeps_its_signature(signed: Signed, tmp_path: Path) -> None:
    packed = pack(Bundle.load(signed.bundle), tmp_path / "bundle.qab")
    assert Bundle.load(packed, require_signature=signed.public).manifest == Bundle.load(signed.bundle).manifest
    assert run("verify", packed, "--key", signed.public).exit_code == 0
    other = signed.public.with_name("other.public.pem")
    assert "is signed by the key" in run("verify", packed, "--key", other).stderr
    assert "sign its folder, and pack it again" in run("sign", packed, "--key", signed.private).stderr
    unsigned = pack(Bundle.load(TINY), tmp_path / "unsigned.qab")
    with pytest.raises(BundleError, match=r"unsigned.qab is not signed: it has no bundle.sig"):
        Reader.load(unsigned, require_signature=signed.public)


def test_keys_and_signatures_of_openssl_and_of_rfc_8032_are_the_same(tiny_copy: Path, tmp_path: Path) -> None:
    """The key of RFC 8032's first test vector, section 7.1, as OpenSSL writes it."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    for name, der in (("PRIVATE", "302e020100300506032b657004220420"), ("PUBLIC", "302a300506032b6570032100")):
        body = base64.b64encode(bytes.fromhex(der) + (secret if name == "PRIVATE" else public)).decode()
        text = f"-----BEGIN {name} KEY-----\n{body}\n-----END {name} KEY-----\n"
        (tmp_path / f"{name}.pem").write_text(text)
    signature.sign(tiny_copy, tmp_path / "PRIVATE.pem")
    assert Bundle.load(tiny_copy, require_signature=tmp_path / "PUBLIC.pem")
    raw = bytes.fromhex(json.loads((tiny_copy / SIGNATURE).read_bytes())["signature"])
    message = b"qa-onnx bundle signature 1\0" + (tiny_copy / MANIFEST).read_bytes()
    ed25519.Ed25519PublicKey.from_public_bytes(public).verify(raw, message)


def test_the_manifest_is_read_once(original: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it could be exchanged between the check and the use."""
    reads: list[str] = []
    open_file = FolderFiles.open

    def counted(files: FolderFiles, name: str) -> Any:
        reads.append(name)
        return open_file(files, name)

    monkeypatch.setattr(FolderFiles, "open", counted)
    Bundle.load(original.bundle, require_signature=original.public.read_bytes())
    assert reads.count(MANIFEST) == 1


def test_an_export_into_a_signed_bundle_removes_the_signature(
    signed: Signed, caplog: pytest.LogCaptureFixture
) -> None:
    from qa_onnx.export.writer import Writer

    manifest = Bundle.load(signed.bundle).manifest
    with Writer(signed.bundle) as writer:
        writer.commit(manifest)
    assert not (signed.bundle / SIGNATURE).exists()
    assert "is removed: qa-onnx sign" in caplog.text
    assert Bundle.load(signed.bundle).damaged_files() == ()


@pytest.mark.filterwarnings("ignore:pipeline ignores")  # a Reader is loaded already; the error says so too
def test_only_a_bundle_can_be_required_to_be_signed(original: Signed) -> None:
    for model in (Reader.load(original.bundle, threads=1), str(original.bundle.parent)):
        with pytest.raises(InputError, match="require_signature needs a bundle"):
            pipeline(model=model, require_signature=original.public)
    with pytest.raises(BundleError, match="is not signed"):
        pipeline(require_signature=original.public)


def test_without_cryptography_the_line_for_pip_is_named(original: Signed, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(extra: str) -> None:
        raise MissingExtraError("cryptography not installed", remedy=f"pip install 'qa-onnx[{extra}]'")

    monkeypatch.setattr(signature, "require", missing)
    for words in (
        ("keygen", "x"),
        ("sign", original.bundle, "--key", original.private),
        ("verify", original.bundle, "--key", original.public),
    ):
        result = run(*words)
        assert (result.exit_code, result.stderr) == (
            1,
            "Error: cryptography not installed: pip install 'qa-onnx[sign]'\n",
        )


def test_reading_imports_no_cryptography_unless_a_signature_is_required() -> None:
    code = f"import sys, qa_onnx; qa_onnx.Bundle.load({str(TINY)!r}); print('cryptography' in sys.modules)"
    assert printed(code).split() == ["False"]


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from qa_onnx import Bundle, BundleError
from qa_onnx.bundle import signature

bundle, keys = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
rng = random.Random(23)
for kill in range(50):
    child = os.fork()
    if not child:
        while True:  # both keys, so that the file changes each time
            for key in keys:
                signature.sign(bundle, key)
    time.sleep(rng.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert Bundle.load(bundle).damaged_files() == ()
    valid = []
    for key in keys:
        try:
            valid.append(Bundle.load(bundle, require_signature=str(key).replace("private", "public")))
        except BundleError:
            pass
    assert len(valid) == 1, (kill, sorted(os.listdir(bundle)))
signature.sign(bundle, keys[0])
print(len([name for name in os.listdir(bundle) if "partial" in name]))
"""


@pytest.mark.slow
def test_whenever_signing_is_killed_the_bundle_has_one_whole_signature(signed: Signed) -> None:
    other = signed.private.with_name("other.private.pem")
    command = [sys.executable, "-c", KILLED, str(signed.bundle), str(signed.private), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("0\n", "")
