"""What tiny releases with random weights are made of: a model's `tiny` writes one."""
