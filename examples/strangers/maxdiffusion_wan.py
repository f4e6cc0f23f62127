"""Wan 2.1 as MaxDiffusion loads it, with TeaCache in the compiled loop.

Needs https://github.com/AI-Hypercomputer/maxdiffusion and its Wan weights.
"""

import jax
from maxdiffusion import pyconfig
from maxdiffusion.pipelines.wan.wan_pipeline_2_1 import WanPipeline2_1

import jax_stepcache

pyconfig.initialize(["", "src/maxdiffusion/configs/base_wan_14b.yml"])
pipeline = WanPipeline2_1.from_pretrained(pyconfig.config)
text, empty = pipeline.encode_prompt("a cat on a skateboard", "")
noise = jax.random.normal(jax.random.key(0), (1, 16, 21, 60, 104))

weights, model = jax_stepcache.adapt(
    pipeline.transformer, blocks=lambda n: n.blocks, modulated=lambda b: b.attn1
)
result = jax_stepcache.sample(
    weights, model=model, noise=noise, condition=text, negative_condition=empty,
    guidance_scale=5.0, shift=5.0, cache="tea_cache",
)  # fmt: skip
print(jax_stepcache.summary(result))
