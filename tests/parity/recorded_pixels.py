"""Reading recorded sessions of DreamZero, from the request to the reply."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jax_stepcache import Params
from jax_stepcache.models import clip_vision, umt5, wan_vae
from jax_stepcache.models.dreamzero import (
    DreamZeroConfig,
    DreamZeroModel,
    Encoders,
    Statistics,
    get_embodiment,
    import_state_dict,
)
from jax_stepcache.models.dreamzero.pixels.canvas import PictureSizes
from jax_stepcache.models.dreamzero.pixels.views import Views, get_views

from . import recorded


@dataclass(frozen=True)
class Recorded:
    """A recorded session or several, one call after the other.

    Attributes:
        path: the file.
    """

    path: Path

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        return recorded.arrays(self.path)

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(str(self.arrays["__config__"]))

    @property
    def params(self) -> dict[str, np.ndarray]:
        kind = self.config["model"]
        return recorded.arrays(recorded.params_beside(self.path, kind))

    @property
    def metadata(self) -> dict[str, Any]:
        return json.loads(str(self.params["__metadata__"]))

    @property
    def views(self) -> Views:
        return get_views(self.metadata["embodiment_tag"])

    @property
    def statistics(self) -> Statistics:
        robot = get_embodiment(self.metadata["embodiment_tag"])
        keys = tuple(self.config["relative_action_keys"])
        robot = replace(robot, relative_keys=keys)
        return Statistics.from_metadata({robot.name: self.metadata}, robot)

    @property
    def sizes(self) -> PictureSizes:
        config = self.config
        view = config["view_h"], config["view_w"]
        if config["model"] == "i2v":
            return PictureSizes(view)
        cameras = self.metadata["modalities"]["video"].values()
        (camera,) = {tuple(camera["resolution"][::-1]) for camera in cameras}
        video = config["target_h"], config["target_w"]
        return PictureSizes(view, camera, video)

    @property
    def model(self) -> DreamZeroModel:
        config = self.config
        dit = DreamZeroConfig.from_dict(
            {
                **config["dit"],
                "image_dim": config["image"]["dim"],
                "image_len": config["clip_tokens"],
            }
        )
        return DreamZeroModel(dit, (config["lat_h"], config["lat_w"]))

    def transformer(self) -> Params:
        """The transformer with its weights."""
        tensors = recorded.part(self.params, "action_head.model.")
        model = self.model
        return Params(import_state_dict(model.dit, tensors), model)

    def vae(self) -> Params:
        """The VAE with its weights."""
        options = {
            **self.config["vae"],
            "latents_mean": self.params["vae_mean"].tolist(),
            "latents_std": self.params["vae_std"].tolist(),
        }
        config = wan_vae.WanVAEConfig.from_dict(options)
        tensors = recorded.part(self.params, "action_head.vae.model.")
        return Params(
            wan_vae.import_state_dict(config, tensors), wan_vae.WanVAEModel(config)
        )

    def text(self) -> Params:
        """The text encoder with its weights."""
        config = umt5.UMT5Config.from_dict(self.config["text"])
        tensors = recorded.part(self.params, "action_head.text_encoder.")
        return Params(umt5.import_state_dict(config, tensors), umt5.UMT5Model(config))

    def image(self) -> Params:
        """The image encoder with its weights."""
        config = clip_vision.CLIPVisionConfig.from_dict(self.config["image"])
        tensors = recorded.part(self.params, "action_head.image_encoder.")
        weights = clip_vision.import_state_dict(config, tensors)
        return Params(weights, clip_vision.CLIPVisionModel(config))

    def encoders(self) -> Encoders:
        return Encoders(self.tokenize, self.text(), self.image(), self.vae())

    def tokenize(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The stand-in tokenizer's ids of the texts that were recorded."""
        known = {self.arrays["negative_prompt"].item(): "_negative"}
        found = []
        for text in texts:
            for call in self.calls():
                suffix = known.get(text, "")
                if suffix or call["text"].item() == text:
                    found.append([call["ids" + suffix][0], call["mask" + suffix][0]])
                    break
            else:
                raise AssertionError(f"nothing was recorded of {text!r}")
        ids, mask = zip(*found, strict=True)
        return np.stack(ids), np.stack(mask)

    def calls(self) -> Iterator[dict[str, np.ndarray]]:
        """What was recorded of each call; where nothing changed, from before."""
        kept: dict[str, np.ndarray] = {}
        changing = {"ids", "mask", "prompt_pos"}
        changing |= {"ids_negative", "mask_negative", "prompt_neg"}
        number = 0
        while call := recorded.part(self.arrays, f"call{number}/"):
            kept |= {name: call[name] for name in changing & call.keys()}
            yield {**kept, **call}
            number += 1


def request(call: dict[str, np.ndarray]) -> dict[str, Any]:
    """The message, as a robot would send it."""
    sent = recorded.part(call, "req/")
    return {key: x.item() if x.dtype.kind == "U" else x for key, x in sent.items()}


def frames(call: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of each camera, (1, T, H, W, 3)."""
    return {name: x[None] for name, x in recorded.part(call, "frames/").items()}


def begins_session(call: dict[str, np.ndarray], last: str | None) -> bool:
    """Whether the server was reset before this call, by a request or another id."""
    return "reset_before" in call or (
        last is not None and call["req/session_id"].item() != last
    )


def levels_apart(ours: Any, theirs: np.ndarray) -> tuple[int, float]:
    """The most levels by which whole numbers differ, and the part that does."""
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == np.uint8
    apart = np.abs(ours.astype(int) - theirs.astype(int))
    return int(apart.max()), float((apart > 0).mean())
