"""CLIP's text encoder as others keep it."""
