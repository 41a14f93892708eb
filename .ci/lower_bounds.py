"""Print the oldest version of every package that the light install allows, as pip requirements."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
for requirement in (*project["dependencies"], *project["optional-dependencies"]["cpu"]):
    match = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement)
    if match is None:
        sys.exit(f"{requirement} should be NAME>=VERSION")
    print(f"{match[1]}=={match[2]}")
