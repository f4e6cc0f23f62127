"""Puts `notebooks/` into the site, though it lies outside docs/.

Pages link to where the notebooks lie, so that a link leads there in the folder, too; in
the site they stand among the pages.
"""

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


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Has links lead to the notebooks of the site."""
    return markdown.replace("](../notebooks/", "](notebooks/")
