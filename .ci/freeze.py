"""Print the installed versions of this environment as constraints for pip; see constraints.txt."""

from importlib import metadata
from pathlib import Path

LEFT_OUT = {"qa-onnx", "pip", "setuptools"}  # the project itself, and what every environment brings

if __name__ == "__main__":
    text = Path(__file__).with_name("constraints.txt").read_text(encoding="utf-8")
    print(*(line for line in text.splitlines() if line.startswith("#")), sep="\n")
    found = {one.name: one.version for one in metadata.distributions() if one.name not in LEFT_OUT}
    for name in sorted(found, key=str.lower):
        # Without the local part, such as +cpu, which depends on the index.
        print(f"{name}=={found[name].partition('+')[0]}")
