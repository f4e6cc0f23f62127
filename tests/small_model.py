"""A model of the library's protocol, as small as one can be: video and action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache import Params, SamplingDefaults
from jax_stepcache.check import batch_size, check_arrays
from jax_stepcache.network.protocol import TunedSchedule

_VIDEO, _ACTION, _TEXT = 6, 3, 4
_DEFAULTS = SamplingDefaults(guidance_scale=2.0, solver="euler")


@dataclass(frozen=True)
class SmallModel:
    """Denoises a row of video and a row of action, given a row of text."""

    name: str = "small"
    defaults: SamplingDefaults = _DEFAULTS
    guided_outputs: tuple[str, ...] = ("video",)
    signal_output: str = "video"
    outputs: tuple[str, ...] = ("action", "video")

    def denoise(self, weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        h = condition + sample["video"] @ weights["in"] + (t["video"] / 1000)[:, None]
        h = jnp.tanh(h)
        action = jnp.sin(sample["action"] + (t["action"] / 1000)[:, None])
        return {"video": h @ weights["out"], "action": action + h[:, :_ACTION]}

    def prepare(self, weights: Any, observation: Any, guided: bool) -> Any:
        del weights
        text = observation["text"]
        return jnp.concatenate([text, 0 * text]) if guided else text

    def check_observation(self, observation: Any) -> int:
        batch = batch_size(observation, "observation")
        text = jax.ShapeDtypeStruct((batch, _TEXT), jnp.float32)
        check_arrays(observation, {"text": text}, "observation")
        return batch

    def example(self, key: jax.Array, batch: int = 1) -> Any:
        return {"text": jax.random.normal(key, (batch, _TEXT))}

    def noise_struct(self, batch: int) -> Any:
        return {
            "video": jax.ShapeDtypeStruct((batch, _VIDEO), jnp.float32),
            "action": jax.ShapeDtypeStruct((batch, _ACTION), jnp.float32),
        }

    def decode(self, sample: Any) -> Any:
        return sample

    def tuned(self, budget: int) -> TunedSchedule:
        if budget != 4:
            raise ValueError(f"small has no schedule of {budget} calls; it has [4]")
        forecast = {"video": "linear", "action": "hold"}
        return TunedSchedule((0, 2, 6, 11), 16, forecast)


def small_params() -> Params:
    """Its weights, always the same."""
    into, out = jax.random.split(jax.random.key(7))
    weights = {
        "in": jax.random.normal(into, (_VIDEO, _TEXT)) / 4,
        "out": jax.random.normal(out, (_TEXT, _VIDEO)) / 2,
    }
    return Params(weights, SmallModel())


def small_noise(batch: int = 1) -> dict[str, jax.Array]:
    """A sample to start from; drawing one in the program is slow to compile."""
    struct = SmallModel().noise_struct(batch)
    return {
        name: jnp.linspace(-1, 1, x.size).reshape(x.shape) for name, x in struct.items()
    }


def model_from_config(config: dict[str, Any]) -> SmallModel:
    """What the registry of models asks of a module; see `network.registry`."""
    return SmallModel(**config)


def weights_struct(model: SmallModel) -> Any:
    """Shapes and dtypes of the weights."""
    del model
    return jax.eval_shape(lambda: small_params().weights)
