"""What lies where weights should, after a clone or a download that went wrong."""

import pytest

from jax_stepcache import load_params
from jax_stepcache.checkpoints.shards import INDEX, SINGLE

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\n"
PAGE = b"\n<!DOCTYPE html><html><body>Sign in</body></html>" * 4


@pytest.mark.parametrize(
    ("content", "word"),
    [(POINTER, "Git LFS pointer.*git lfs pull"), (PAGE, "web page")],
)
@pytest.mark.parametrize("name", ["one.safetensors", f"in/{SINGLE}", f"in/{INDEX}"])
def test_the_error_says_what_it_is(tmp_path, content, word, name):
    """Not: cut short, or no index."""
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=word):
        load_params(file.parent if "/" in name else file)
