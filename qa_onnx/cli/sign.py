"""`qa-onnx keygen`, `sign` and `verify`: keys, and signatures of bundles."""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command
@click.argument("name", type=_PATH)
def keygen(*, name: Path) -> None:
    """Make a pair of Ed25519 keys: NAME.private.pem signs bundles, NAME.public.pem verifies them.

    The private key has no passphrase, and only you may read the file. Give the public key to those who use your
    bundles. Existing files are never replaced.
    """
    from qa_onnx.bundle.signature import make_keys

    private, public, key = make_keys(name)
    click.echo(
        f"{private}  signs: keep it secret, and keep a copy\n{public}  verifies: give it to others\nkey {key}"
    )


@click.command
@click.argument("bundle", type=_PATH)
@click.option("--key", type=_PATH, required=True, help="Private key that signs, from qa-onnx keygen or OpenSSL.")
def sign(*, bundle: Path, key: Path) -> None:
    """Sign a bundle: write bundle.sig into its folder, over bundle.json, which holds the hash of every file.

    An older signature is replaced. Answers and files stay as they are.
    """
    from qa_onnx.bundle import signature

    if key.exists() and key.stat().st_mode & 0o077:
        click.echo(f"warning: other users may read {key}, a private key: chmod 600 it", err=True)
    made = signature.sign(bundle, key)
    click.echo(f"signed {bundle} with the key {made.key}")


@click.command
@click.argument("bundle")
@click.option("--revision", help="Branch, tag or commit of a bundle on the hub.  [default: main]")
@click.option("--key", type=_PATH, required=True, help="Public key of the bundle's owner.")
def verify(*, bundle: str, revision: str | None, key: Path) -> None:
    """Check that a key signed a bundle, a folder or org/name on the hub, and that every file is what was signed.

    Whether it gives the same answers on this machine as at export, qa-onnx inspect --verify checks.
    """
    from qa_onnx import Bundle
    from qa_onnx.bundle.signature import PublicKey

    loaded = Bundle.load(bundle, revision=revision, require_signature=key)
    damaged = loaded.damaged_files()
    if damaged:
        raise click.ClickException("; ".join(damaged))
    count = len(loaded.manifest.files())
    files = "its file is" if count == 1 else f"its {count} files are"
    click.echo(f"valid: {loaded.path} is signed by the key of {key}, and {files} what was signed")
    click.echo(f"key {PublicKey(key).id}")
