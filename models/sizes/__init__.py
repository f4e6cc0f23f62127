"""How large a model is: its weights' shapes, and what it costs without any weights.

`parameters` has fresh weights, their shapes, and networks made of them; `counts` the
checks of sizes; `arithmetic` matrix products; `rows` what ``jax-stepcache info`` says.
"""
