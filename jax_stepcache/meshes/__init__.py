"""Several devices: meshes, `jax.shard_map`, and where arrays lie."""
