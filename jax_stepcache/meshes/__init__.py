"""Several devices: meshes of every kind of axes, `jax.shard_map`, and where arrays lie."""
