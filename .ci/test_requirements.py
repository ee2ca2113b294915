"""Print what the test suite needs beside the wheel: the `dev` extra, from pyproject.toml."""

import pathlib
import tomllib

project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
print(*(requirement.replace(" ", "") for requirement in project["optional-dependencies"]["dev"]))
