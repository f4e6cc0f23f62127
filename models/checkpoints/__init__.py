"""How released checkpoints become our weights, as far as it is the same for all models.

`tensors` says what becomes of one tensor, `name_map` of all of them, `released` what a
file or folder shows before it is read. A model's own table of names stands with it, in
its `checkpoint.name_map`.
"""
