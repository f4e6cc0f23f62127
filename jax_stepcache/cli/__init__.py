"""The ``jax-stepcache`` command."""
