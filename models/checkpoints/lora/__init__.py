"""Low-rank changes of others' (LoRA): merged into a model's weights, or kept beside.

`keys` knows how files call things, `file` reads one, `fitting` finds the weights that
are meant, `merging` and `beside` apply it. A model's package offers
`tensor_plans(model, component)`, the tables of its checkpoints' names; that is all it
takes.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

from .beside import keep_lora
from .merging import check_lora, merge_lora

__all__ = ["check_lora", "keep_lora", "merge_lora"]
