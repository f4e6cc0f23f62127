"""Prints pip constraints: each dependency in the lowest version that is declared.

python lowest.py PYPROJECT [EXTRA...]
"""

import re
import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Prints a line for each."""
    path, *extras = sys.argv[1:]
    project = tomllib.loads(Path(path).read_text())["project"]
    required = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    for requirement in required:
        declared = re.fullmatch(r"([\w-]+)>=([\w.]+)", requirement)
        if declared is None:
            sys.exit(f"{requirement} is no lower bound alone")
        print("{}=={}".format(*declared.groups()))


if __name__ == "__main__":
    main()
