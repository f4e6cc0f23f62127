"""Weights between disk and devices, in pieces small enough for any host.

`shards` reads safetensors of others one tensor at a time and `streaming` makes weights
of them; `folder` is the library's own format, a few Orbax checkpoints; `convert` goes
from the first to the last. Import from these: Orbax takes half a second to import.
"""
