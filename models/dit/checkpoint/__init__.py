"""The original's checkpoints: `name_map` has their names, `released` opens them."""
