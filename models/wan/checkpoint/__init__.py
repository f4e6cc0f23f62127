"""Others' checkpoints: `names` and `name_map` have their names, `released` opens them.

`scheduler` reads which solver a pipeline's folder asks for.
"""
