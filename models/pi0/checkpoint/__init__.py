"""Others' checkpoints: `name_map` has their names, `released` opens them."""
