"""Flow-matching training of DreamZero: from scratch, in full or by LoRA."""

from ...training import TrainState, fit
from .chunks import Chunks, load_chunks, save_chunks
from .finetune import FinetuneSettings, finetune
from .lora import init_lora, merge_lora
from .loss import FlowMatching
from .noise import TrainingNoise, training_noise

__all__ = [
    "Chunks",
    "FinetuneSettings",
    "FlowMatching",
    "TrainState",
    "TrainingNoise",
    "finetune",
    "fit",
    "init_lora",
    "load_chunks",
    "merge_lora",
    "save_chunks",
    "training_noise",
]
