"""Models that ship with the library; it loads them by name and knows none of them.

A model is a folder: its `network`, its `checkpoint.name_map` and its sizes. What models
share stands beside them: `layers` (what networks are built from), `checkpoints` (how
released tensors become weights), `sizes` (shapes, counts and descriptions) and
`training` (the loop, its optimisers and what it leaves behind).
"""
