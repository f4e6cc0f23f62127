"""The transformer of FLUX.1: double blocks, then single ones."""
