"""Wan, which makes films of words and pictures."""

from .sizes import RELEASES, WanConfig, WanRelease

__all__ = ["RELEASES", "WanConfig", "WanRelease"]
