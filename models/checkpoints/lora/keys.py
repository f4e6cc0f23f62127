"""What the keys of a LoRA file say: which tensor is changed, and what of the change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

# What stands behind the name of what is changed, in the files of PEFT and diffusers, of
# diffusers before it had PEFT, and of kohya, ComfyUI and LightX2V; and what it is.
_ENDINGS: Mapping[str, str] = MappingProxyType(
    {
        ".lora_A.weight": "down",
        ".lora_B.weight": "up",
        ".lora_A.default.weight": "down",
        ".lora_B.default.weight": "up",
        ".lora_down.weight": "down",
        ".lora_up.weight": "up",
        ".lora.down.weight": "down",
        ".lora.up.weight": "up",
        ".lora_B.bias": "up_bias",
        ".lora_B.default.bias": "up_bias",
        ".alpha": "alpha",
        ".diff": "diff",
        ".diff_b": "diff_b",
        ".diff_m": "diff",
    }
)
# Of LightX2V's, whose key says the block alone, or the head, what of it is changed.
_NAMED_BY_ENDING: Mapping[str, str] = MappingProxyType({".diff_m": "modulation"})
# Of changes of other kinds, of which half a change would be none.
_OTHERS: Mapping[str, str] = MappingProxyType(
    {
        "dora_scale": "DoRA",
        "lora_magnitude_vector": "DoRA",
        "hada_w1_a": "LoHa",
        "lokr_w1": "LoKr",
        "oft_blocks": "OFT",
    }
)
# What names begin with, the longest first; the transformer of a pipeline, or none.
_PREFIXES: Mapping[str, str | None] = MappingProxyType(
    {
        "base_model.model.": None,
        "model.diffusion_model.": None,
        "diffusion_model.": None,
        "transformer_2.": "transformer_2",
        "transformer.": "transformer",
        "lora_unet_": None,
        "lora_transformer_": None,
        "model.": None,
    }
)

# What names of a pipeline's text encoders begin with: diffusers', kohya's, ComfyUI's.
_TEXT_ENCODERS = ("text_encoder", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_")


class Key(NamedTuple):
    """A key, read.

    Attributes:
        target: the name of what is changed, without ending and prefix. Of kohya's keys
            dots are underscores.
        kind: ``"down"`` or ``"up"``, a factor; ``"up_bias"``, the bias of the second
            factor; ``"alpha"``, the scale times the rank; ``"diff"``, ``"diff_b"``,
            what is added to weight and bias as it is.
        component: which transformer of a pipeline, where the key says so.
    """

    target: str
    kind: str
    component: str | None


def read_key(key: str) -> Key | None:
    """Reads a key.

    Args:
        key: the name of a tensor in the file.

    Returns:
        What it says, or None if it is of no kind that is known.

    Raises:
        ValueError: if it is of a kind of change that is known and not implemented.
    """
    for word, kind in _OTHERS.items():
        if word in key:
            raise ValueError(f"{key!r} is of a {kind}; only LoRA is implemented")
    ending = next((end for end in _ENDINGS if key.endswith(end)), None)
    if ending is None:
        return None
    prefix = next((start for start in _PREFIXES if key.startswith(start)), "")
    target = key.removesuffix(ending).removeprefix(prefix)
    if ending in _NAMED_BY_ENDING:
        # A name without dots may be one of kohya's, which do for all others as well.
        target += ("." if "." in target else "_") + _NAMED_BY_ENDING[ending]
    return Key(target, _ENDINGS[ending], _PREFIXES.get(prefix))


def is_of_text(target: str) -> bool:
    """Whether a name is of a text encoder, which lies beside the transformer."""
    return target.startswith(_TEXT_ENCODERS)


def of_component(keys: Iterable[Key], component: str) -> list[bool]:
    """Which keys are for one of the transformers of a pipeline.

    Args:
        keys: of a file.
        component: ``"transformer"`` or ``"transformer_2"``.

    Returns:
        One for each key: all of a file that names none, or only the one; and all of one
        that names the first, which is what a pipeline of one calls it, for the second.
    """
    keys = list(keys)
    named = {key.component for key in keys} - {None}
    if "transformer_2" not in named or named == {component}:
        return [True] * len(keys)
    return [key.component == component for key in keys]
