"""FlaxDiff's SimpleDiT, as it comes: its blocks have names.

pip install --no-deps flaxdiff==0.2.11 einops
"""

import jax
import jax.numpy as jnp
from flaxdiff.models.simple_dit import SimpleDiT

import jax_stepcache

network = SimpleDiT(patch_size=4, emb_features=32, num_layers=4, num_heads=4)
noise = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
text = jax.random.normal(jax.random.key(1), (2, 5, 24))
variables = network.init(jax.random.key(2), noise, jnp.ones(2), text)
# A new one says nothing: its last layer is zero.
variables = jax.tree.map(lambda w: w + 0.01, variables)
weights, model = jax_stepcache.adapt(
    network, variables, blocks="dit_block_*", modulated="attention"
)
given = {"model": model, "noise": noise, "condition": text}
cache = {"cache": "tea_cache", "cache_config": {"rel_l1_thresh": 0.3}}
for options in (given, given | cache):
    result = jax_stepcache.sample(weights, **options)
    print(jax_stepcache.summary(result))
