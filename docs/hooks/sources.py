"""Shows mkdocstrings the package as it is installed.

`models/` lies beside `jax_stepcache/` and is installed as `jax_stepcache.models`
(`package-dir` in pyproject.toml). The documentation is read from the source files, not
by importing them, so the two are laid together in a temporary folder first.
"""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

_KEPT = tempfile.TemporaryDirectory(prefix="jax-stepcache-docs-")


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: Any) -> Any:
    """Lays the sources out and points mkdocstrings at them.

    Args:
        config: the site's configuration.

    Returns:
        The same.
    """
    root = Path(config.config_file_path).parent
    target = Path(_KEPT.name)
    project = tomllib.loads((root / "pyproject.toml").read_text())
    folders = project["tool"]["setuptools"]["package-dir"]
    # Outer packages first, so that inner ones are laid into them.
    for package, folder in sorted(folders.items()):
        shutil.copytree(
            root / folder,
            target.joinpath(*package.split(".")),
            ignore=lambda path, names: [
                name
                for name in names
                if not (name.endswith(".py") or Path(path, name).is_dir())
            ],
            dirs_exist_ok=True,
        )
    handler = config.plugins["mkdocstrings"].config.handlers["python"]
    handler["paths"] = [str(target)]
    return config
