"""Which threshold? And would as many plain steps do as well?"""

import jax
import jax.numpy as jnp

import jax_stepcache
from jax_stepcache.measure.metrics import psnr

params = jax_stepcache.load_params("dit")
found = jax_stepcache.calibrate(
    params,
    samples=4,
    cache="cache_dit",
    cache_config={"max_warmup_steps": 1, "enable_taylorseer": True},
    target={"model_calls": 6},
)
print(found)

# The setting in use, on digits it has not seen, beside a sampler of six plain steps.
digits = {"observation": {"label": jnp.arange(10)}, "key": jax.random.key(7)}
exact = jax_stepcache.sample(params, **digits)
cached = jax_stepcache.sample(params, **digits, **found.options)
plain = jax_stepcache.sample(params, **digits, num_inference_steps=6)
images = params.model.decode(exact.sample)["image"]
for name, result in (("calibrated", cached), ("six plain steps", plain)):
    decibels = float(psnr(images, params.model.decode(result.sample)["image"]))
    print(f"{name:16s} {int(result.stats.model_calls):2d} calls  {decibels:5.1f} dB")
