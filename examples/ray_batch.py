"""A data set of labels, sampled by Ray Data's actors: resumable, each written once."""

import argparse
import os
from pathlib import Path

import jax
import numpy as np

import jax_stepcache

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, default=Path("out/ray_batch"))
parser.add_argument("--count", type=int, default=32, help="samples of the data set")
parser.add_argument("--actors", type=int, default=2, help="one a GPU, where there are")
parser.add_argument("--gpus", type=float, default=0, help="of each actor")


class Sampler:
    """An actor: weights are loaded and programs compiled once."""

    def __init__(self, out):
        self.out, self.params = out, jax_stepcache.load_params("dit")

    def __call__(self, batch):
        """Samples those that are not written yet; says how many these were."""
        missing = [i for i in batch["id"] if not file_of(self.out, i).exists()]
        requests = [
            jax_stepcache.Request(
                observation={"label": np.array([i % 10], np.int32)},
                key=jax.random.key(int(i)),  # of its own, whoever samples it
            )
            for i in missing
        ]
        results = jax_stepcache.sample_many(self.params, requests, cache="step_cache")
        for i, result in zip(missing, results, strict=True):
            write(file_of(self.out, i), result)
        return {"written": np.array([len(missing)])}


def file_of(out, number):
    """Where a sample goes."""
    return Path(out) / f"{number:06}.npy"


def write(path, result):
    """Under another name first: what has the right name is whole."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, np.asarray(result.sample))
    partial.rename(path)


if __name__ == "__main__":
    import ray  # pyright: ignore[reportMissingImports]

    args = parser.parse_args()
    out = args.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    left = [i for i in range(args.count) if not file_of(out, i).exists()]
    print(f"{len(left)} of {args.count} are not written yet")
    if left:
        done = ray.data.from_items([{"id": i} for i in left]).map_batches(
            Sampler,
            fn_constructor_args=[str(out)],
            batch_size=8,
            concurrency=args.actors,
            num_gpus=args.gpus,
        )
        print(f"{done.sum('written')} written by {args.actors} actors")
