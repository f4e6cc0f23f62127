"""Stages of other people's networks, found by tracing them."""
