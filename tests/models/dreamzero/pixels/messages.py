"""Messages of a DROID robot, for tests."""

import numpy as np

from jax_stepcache.models.dreamzero import Statistics

STATISTICS = Statistics.from_metadata(
    {
        "oxe_droid": {
            "statistics": {
                group: {
                    "joint_position": {"q01": [-1.0] * 7, "q99": [1.0] * 7},
                    "gripper_position": {"q01": [0.0], "q99": [1.0]},
                }
                for group in ("state", "action")
            }
        }
    },
    "oxe_droid",
)


def message(frames=1, size=(20, 30), seed=0, **changed):
    """A message; None in place of a value leaves its key out."""
    rng = np.random.default_rng(seed)

    def pictures():
        return rng.integers(0, 256, (frames, *size, 3), np.uint8)

    sent = {
        "observation/exterior_image_0_left": pictures(),
        "observation/exterior_image_1_left": pictures(),
        "observation/wrist_image_left": pictures(),
        "observation/joint_position": rng.uniform(-1, 1, 7).astype(np.float32),
        "observation/gripper_position": np.float32([0.5]),
        "prompt": "Fold the towel",
        "session_id": "one",
    }
    plain = ("prompt", "session_id")
    for key, value in changed.items():
        sent[key if key in plain else f"observation/{key}"] = value
    return {key: value for key, value in sent.items() if value is not None}
