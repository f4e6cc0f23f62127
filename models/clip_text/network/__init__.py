"""CLIP's text encoder."""
