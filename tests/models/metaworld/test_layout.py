"""Demonstrations: what is cut from a segment, and the files that training reads."""

import numpy as np
import pytest

from jax_stepcache.models.dreamzero.training import load_chunks
from jax_stepcache.models.metaworld import MetaworldModel, latent, metaworld_config
from jax_stepcache.models.metaworld.demonstrate import jobs_of
from jax_stepcache.models.metaworld.episodes import (
    FIRST_SEED,
    load_episode,
    save_episode,
    wanted_episodes,
)
from jax_stepcache.models.metaworld.layout import write_layout
from jax_stepcache.models.metaworld.model import normalised_state
from jax_stepcache.models.metaworld.segments import Segment, sequences
from jax_stepcache.models.metaworld.tasks import NAMES

MODEL = MetaworldModel(metaworld_config(dim=32, num_layers=1))


def segment(pictures: int, seed: int = 0) -> Segment:
    """One whose numbers say where they are from."""
    rng = np.random.default_rng(seed)
    actions = 4 * (pictures - 1)
    return Segment(
        rng.integers(0, 256, (pictures, 64, 64, 3), np.uint8),
        rng.uniform(0, 1, (actions + 1, 4)).astype(np.float32),
        rng.uniform(-1, 1, (actions, 4)).astype(np.float32),
    )


@pytest.mark.parametrize(("pictures", "count"), [(4, 0), (5, 1), (9, 5)])
def test_a_sequence_begins_at_each_picture_with_enough_behind_it(pictures, count):
    """Pictures, states and actions of a sequence are of the same moments."""
    whole = segment(pictures)
    found = list(sequences(whole, 2))
    assert len(found) == count
    for i, one in enumerate(found):
        np.testing.assert_array_equal(one.frames, whole.frames[i : i + 5])
        np.testing.assert_array_equal(one.states, whole.states[[4 * i, 4 * i + 8]])
        np.testing.assert_array_equal(one.actions, whole.actions[4 * i : 4 * i + 16])


def test_episodes_come_back_from_their_files(tmp_path):
    """Segments are kept bit for bit, and that an expert has failed, too."""
    done, failed = wanted_episodes(("push",), 2, 0)
    save_episode(tmp_path, done, [segment(5), segment(3, 1)])
    save_episode(tmp_path, failed, [])
    for found, kept in zip(
        load_episode(tmp_path, done), [segment(5), segment(3, 1)], strict=True
    ):
        for mine, theirs in zip(found, kept, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert load_episode(tmp_path, failed) == []


def test_an_episode_of_another_task_is_refused(tmp_path):
    """A file that was renamed is not learned from under the wrong prompt."""
    push, reach = wanted_episodes(("push", "reach"), 1, 0)
    save_episode(tmp_path, push, [segment(5)])
    push.path(tmp_path).rename(reach.path(tmp_path))
    with pytest.raises(ValueError, match="is no episode of reach"):
        load_episode(tmp_path, reach)


def test_the_layout_is_what_fine_tuning_reads(tmp_path):
    """`load_chunks` takes it; its rows are the sequences, in order, with the latents,
    normalised states and task that belong to them."""
    first, second = wanted_episodes(("push", "reach"), 1, 0)
    save_episode(tmp_path, first, [segment(6)])
    save_episode(tmp_path, second, [segment(5, 1)])
    said = write_layout(tmp_path, [first, second], 2)
    assert said.startswith("3 sequences of 2 chunks, of 2 episodes (0 were")
    chunks = load_chunks(tmp_path, MODEL)
    assert [int(row[0].argmax()) for row in chunks.text] == [
        NAMES.index("push"),
        NAMES.index("push"),
        NAMES.index("reach"),
    ]
    whole = segment(6)
    pictures = whole.frames[None, 1:].astype(np.float32) / 255
    np.testing.assert_allclose(
        chunks.video[1], latent.encode(pictures)[0], rtol=2e-3, atol=2e-3
    )
    np.testing.assert_allclose(chunks.action[1], whole.actions[4:20], atol=1e-3)
    states = normalised_state(whole.states[[4, 12]])
    np.testing.assert_allclose(chunks.state[1], states, atol=2e-3)
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize(
    ("blocks", "said"),
    [(0, "a window has 1 to 4"), (5, "a window has 1 to 4"), (4, "no demonstration")],
)
def test_sequences_that_cannot_be_are_refused(tmp_path, blocks, said):
    """Too many chunks for a window, none, and more than anybody has shown."""
    (only,) = wanted_episodes(("push",), 1, 0)
    save_episode(tmp_path, only, [segment(6)])
    with pytest.raises(ValueError, match=said):
        write_layout(tmp_path, [only], blocks)


def test_every_run_has_seeds_of_its_own():
    """Runs share no episode with each other, nor with an evaluation's, from 0 on."""
    runs = [wanted_episodes(NAMES, 5, seed) for seed in range(3)]
    seeds = [{one.seed for one in run} for run in runs]
    assert min(min(each) for each in seeds) >= FIRST_SEED
    assert len(set.union(*seeds)) == 15


def test_processes_are_given_each_episode_once():
    """Some of one task at a time, none left out."""
    wanted = wanted_episodes(NAMES, 13, 0)
    jobs = list(jobs_of(wanted))
    assert sorted(one for job in jobs for one in job) == sorted(wanted)
    assert all(len({one.task for one in job}) == 1 for job in jobs)


@pytest.mark.parametrize(
    ("tasks", "episodes", "seed", "said"),
    [
        (("pusk",), 1, 0, r"pusk.*push"),
        (("push", "push"), 1, 0, "name each once"),
        ((), 1, 0, "name each once"),
        (("push",), 0, 0, "episodes is 0"),
        (("push",), 1, -1, "seed is -1"),
    ],
)
def test_runs_that_cannot_be_are_refused(tasks, episodes, seed, said):
    """With what was given, and the nearest right name."""
    with pytest.raises(ValueError, match=said):
        wanted_episodes(tasks, episodes, seed)
