"""Puts `notebooks/` into the site, though it lies outside docs/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files


@event_priority(100)  # before mkdocs-jupyter, which makes pages of them
def on_files(files: Files, config: Any) -> Files:
    """Adds the notebooks to the site's files.

    Args:
        files: the files of docs/.
        config: the site's configuration.

    Returns:
        Those and the notebooks.
    """
    root = Path(config.config_file_path).parent
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        name = str(path.relative_to(root))
        files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    return files
