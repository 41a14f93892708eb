"""Add the files of a bundle to an SBOM of packages (CycloneDX, JSON) and write both as one, checked, to stdout.

python .ci/sbom.py PACKAGES.cdx.json BUNDLE
"""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator


def bundle_component(folder: Path) -> dict[str, object]:
    """Return a bundle and its files as a component of an SBOM; sizes and hashes are those of bundle.json."""
    manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    entries = [manifest["tokenizer"]]
    for graph in manifest["graphs"].values():
        entries += [graph[key] for key in ("file", "data", "golden") if graph.get(key)]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"bundle:{manifest['source']['name']}",
        "name": manifest["source"]["name"],
        "description": f"{manifest['architecture']['model_type']}, trained on SQuAD (Rajpurkar et al. 2016)",
        "licenses": [{"license": {"id": "CC-BY-SA-4.0"}}],
        "components": [
            {
                "type": "file",
                "bom-ref": f"file:{entry['name']}",
                "name": entry["name"],
                "hashes": [{"alg": "SHA-256", "content": entry["sha256"]}],
                "properties": [{"name": "qa-onnx:bytes", "value": str(entry["size"])}],
            }
            for entry in entries
        ],
    }


def main() -> None:
    packages, bundle = map(Path, sys.argv[1:])
    content = json.loads(packages.read_text(encoding="utf-8"))
    content.setdefault("components", []).append(bundle_component(bundle))
    text = json.dumps(content, indent=1) + "\n"
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        sys.exit(f"this is no SBOM: {problem}")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
