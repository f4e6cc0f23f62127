"""Training: the mask, the loss, adapters, accumulation, data on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import Params
from jax_stepcache.models.dreamzero import (
    DreamZeroModel,
    KVCache,
    bind,
    teacher_forcing,
)
from jax_stepcache.models.dreamzero.training import (
    Chunks,
    FinetuneSettings,
    FlowMatching,
    finetune,
    init_lora,
    load_chunks,
    merge_lora,
    save_chunks,
)
from jax_stepcache.models.dreamzero.training.chunks import chunks_struct
from jax_stepcache.models.dreamzero.training.finetune import rows_at
from jax_stepcache.models.dreamzero.training.fit import init_state, train_step

from .small import SMALL, random_weights

ONE_LAYER = replace(SMALL, num_layers=1)
MODEL = DreamZeroModel(SMALL, (4, 4))
BLOCKS = 2
FRAMES = 1 + BLOCKS * SMALL.num_frame_per_block


def random_chunks(model: DreamZeroModel, count: int, blocks: int = BLOCKS) -> Chunks:
    """Sequences of noise, but for actions, which stay in range."""
    rng = np.random.default_rng(0)
    chunks = jax.tree.map(
        lambda x: rng.standard_normal(x.shape, np.float32),
        chunks_struct(model, count, blocks),
    )
    return chunks._replace(action=np.tanh(chunks.action))


@given(
    frames_per_block=st.integers(1, 2),
    blocks=st.integers(1, 4),
    chunk=st.integers(1, 3),
    clean=st.booleans(),
)
def test_mask_says_what_the_rules_say(
    frames_per_block: int, blocks: int, chunk: int, clean: bool
) -> None:
    """Each token attends to what the original's rules name, and to nothing else."""
    config = replace(
        SMALL,
        frame_seqlen=1,
        patch_size=(1, 1, 1),
        num_frame_per_block=frames_per_block,
        num_action_per_block=2,
        max_chunk_size=chunk,
    )
    frames = 1 + blocks * frames_per_block

    def block_of(frame: int) -> int:
        return -1 if frame == 0 else (frame - 1) // frames_per_block

    video = [(frame, block_of(frame)) for frame in range(frames)]
    tokens = [("clean", *at) for at in video] if clean else []
    tokens += [("noisy", *at) for at in video]
    tokens += [("action", 0, block) for block in range(blocks) for _ in range(2)]
    tokens += [("state", 0, block) for block in range(blocks)]

    def sees(query: tuple, key: tuple) -> bool:
        (kind, _, block), (other, frame, at) = query, key
        window = 1 + (block + 1) * frames_per_block - config.window
        near = frame == 0 or frame >= window
        if kind == "state":
            return other == "state" and at == block
        if kind == "noisy" and block == -1:
            return other == "noisy" and at == -1
        if kind == "clean":
            return other == "clean" and at <= block and near
        if other in ("action", "state"):
            return at == block
        if other == "clean":
            return at < block
        return at == block if clean else at <= block and near

    expected = [[sees(query, key) for key in tokens] for query in tokens]
    mask = teacher_forcing.attention_mask(config, frames, teacher_forcing=clean)
    assert mask.tolist() == expected


def test_training_sees_what_sampling_sees() -> None:
    """With one layer, a block's velocities under the mask are those of a forward
    whose cache holds the clean frames before it. (With more, states differ: in
    sampling they attend to everything, as in the original.)"""
    config = ONE_LAYER
    weights = random_weights(config)
    chunks = random_chunks(DreamZeroModel(config, (4, 4)), 2)
    rng = np.random.default_rng(1)
    noisy = rng.standard_normal(chunks.video.shape, np.float32)
    action = rng.standard_normal(chunks.action.shape, np.float32)
    t_video = np.repeat([[900.0, 500.0, 300.0]], 2, 0).astype(np.float32)
    t_frames = np.repeat(t_video, [1, 2, 2], axis=1)
    t_action = np.repeat(t_video[:, 1:] / 2, config.num_action_per_block, axis=1)

    @jax.jit
    def trained() -> tuple[jax.Array, jax.Array]:
        model = bind(config, weights)
        return teacher_forcing.forward(
            model,
            jnp.asarray(noisy),
            jnp.asarray(action),
            jnp.asarray(chunks.state),
            jnp.asarray(t_frames),
            jnp.asarray(t_action),
            model.encode_context(jnp.asarray(chunks.text)),
            clean=jnp.asarray(chunks.video),
        )

    @jax.jit
    def sampled() -> list[tuple[jax.Array, jax.Array]]:
        model = bind(config, weights)
        context = model.encode_context(jnp.asarray(chunks.text))
        cache = KVCache.empty(config, 2)
        cache = model.prefill(jnp.asarray(chunks.video[:, :, :1]), context, cache)
        out = []
        for block in range(BLOCKS):
            frames = slice(1 + 2 * block, 3 + 2 * block)
            actions = slice(4 * block, 4 * block + 4)
            out.append(
                model(
                    jnp.asarray(noisy[:, :, frames]),
                    jnp.asarray(action[:, actions]),
                    jnp.asarray(chunks.state[:, block : block + 1]),
                    jnp.asarray(t_frames[:, 1 + 2 * block]),
                    jnp.asarray(t_action[:, 4 * block]),
                    context,
                    cache,
                )
            )
            clean = jnp.asarray(chunks.video[:, :, frames])
            cache = model.prefill(clean, context, cache)
        return out

    video, actions = trained()
    pieces = sampled()
    expected = np.concatenate([v for v, _ in pieces], axis=2)
    np.testing.assert_allclose(video[:, :, 1:], expected, atol=2e-5)
    expected = np.concatenate([a for _, a in pieces], axis=1)
    np.testing.assert_allclose(actions, expected, atol=2e-5)


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
def test_loss_of_a_perfect_answer_is_zero(
    prediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target is noise minus data, or the data, as the model predicts; and the
    noise level told to the network is the one that was mixed in."""
    model = replace(MODEL, prediction=prediction)
    chunks = jax.tree.map(jnp.asarray, random_chunks(model, 3))

    def oracle(network, video, action, state, t_video, t_action, *_, **__):
        del network, state
        answers = []
        for noisy, clean, t in (
            (video, chunks.video, t_video[:, None, :, None, None]),
            (action, chunks.action, t_action[:, :, None]),
        ):
            sigma = t / 1000
            noise = clean + (noisy - clean) / sigma
            answers.append(clean if prediction == "sample" else noise - clean)
        return tuple(answers)

    monkeypatch.setattr(teacher_forcing, "forward", oracle)
    weights = random_weights(SMALL)
    loss, parts = jax.jit(FlowMatching(model))(weights, chunks, jax.random.key(0))
    assert float(loss) < 1e-3
    assert parts.keys() == {"video", "action"}


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    """Four parts of two rows give the step of one part of eight."""

    def loss(trained: Any, frozen: Any, batch: Any, key: Any) -> Any:
        del frozen, key
        value = jnp.mean((batch @ trained - 1.0) ** 2)
        return value, {"square": value}

    batch = jax.random.normal(jax.random.key(0), (8, 3))
    optimizer = optax.sgd(0.1)
    results = [
        train_step(
            init_state(jnp.ones(3), optimizer),
            None,
            batch,
            jax.random.key(0),
            loss=loss,
            optimizer=optimizer,
            decay=0.9,
            accumulate=parts,
        )
        for parts in (1, 4)
    ]
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_fresh_adapters_change_nothing_and_trained_ones_only_what_they_adapt() -> None:
    """``W + alpha / rank * a @ b`` with b zero; then the named matrices alone move."""
    weights = jax.tree.map(jnp.asarray, random_weights(SMALL))
    lora = init_lora(weights, 2, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, merge_lora(weights, lora, 4.0), weights)
    lora["adapters"] = jax.tree.map(jnp.ones_like, lora["adapters"])
    merged = merge_lora(weights, lora, 4.0)
    change = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), merged, weights)
    moved = {
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, size in jax.tree_util.tree_leaves_with_path(change)
        if size
    }
    assert moved == {f"blocks.{name}.kernel" for name in lora["adapters"]}
    kernel = merged["blocks"]["ffn"]["layer1"]["kernel"]
    np.testing.assert_allclose(
        kernel - weights["blocks"]["ffn"]["layer1"]["kernel"], 4.0, rtol=1e-5
    )
    with pytest.raises(ValueError, match="rank of LoRA is 0"):
        init_lora(weights, 0, jax.random.key(0))


@given(count=st.integers(1, 20), batch=st.integers(1, 20), epochs=st.integers(1, 3))
def test_an_epoch_sees_every_sequence_once(count: int, batch: int, epochs: int) -> None:
    """But for those that fill no batch; another epoch has another order."""
    batch = min(batch, count)
    settings = FinetuneSettings(batch=batch)
    per_epoch = count // batch
    for epoch in range(epochs):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        seen = np.concatenate([rows_at(step, count, settings) for step in steps])
        assert len(set(seen.tolist())) == len(seen) == per_epoch * batch


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chunks")
    save_chunks(folder, random_chunks(MODEL, 4))
    return folder


PARAMS = Params(jax.tree.map(jnp.asarray, random_weights(SMALL)), MODEL)


@pytest.mark.slow
def test_finetuning_learns_and_a_resumed_run_gets_the_same_numbers(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss falls; stopped half-way and resumed, every weight is the same bit for
    bit; the params that it began from are as they were. Adapters: `tests/cli`."""
    settings = FinetuneSettings(
        steps=12, batch=4, accumulate=2, lora=0, learning_rate=0.02, warmup=0.1
    )
    before = jax.tree.map(np.array, PARAMS.weights)
    whole = finetune(PARAMS, data, tmp_path / "whole", settings, log_every=1)
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.split("video ")[1].split(",")[0]) for line in lines]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    finetune(PARAMS, data, tmp_path / "parts", settings, stop_after=6)
    resumed = finetune(PARAMS, data, tmp_path / "parts", settings, resume=True)
    jax.tree.map(np.testing.assert_array_equal, resumed.weights, whole.weights)
    jax.tree.map(np.testing.assert_array_equal, PARAMS.weights, before)
    other = settings._replace(learning_rate=0.03)
    with pytest.raises(ValueError, match=r"learning_rate was 0\.02 and is 0\.03"):
        finetune(PARAMS, data, tmp_path / "parts", other, resume=True)


def test_sequences_on_disk_are_checked(data: Path, tmp_path: Path) -> None:
    """All that is wrong with a folder is said at once, by file."""
    with pytest.raises(FileNotFoundError, match="no folder"):
        load_chunks(tmp_path / "nowhere", MODEL)
    chunks = random_chunks(MODEL, 4)
    save_chunks(tmp_path, chunks._replace(text=chunks.text[:3]))
    with pytest.raises(ValueError, match=r"text.npy is \(3, 3, 5\)"):
        load_chunks(tmp_path, MODEL)
    (tmp_path / "text.npy").unlink()
    (tmp_path / "video.npy").write_bytes((data / "video.npy").read_bytes()[:-9])
    np.save(tmp_path / "prompt.npy", np.zeros(2))
    with pytest.raises(ValueError) as error:  # noqa: PT011
        load_chunks(tmp_path, MODEL)
    for said in ("missing: text.npy", "cut short", "unknown: prompt.npy"):
        assert said in str(error.value)


def test_sequences_are_no_longer_than_a_window(tmp_path: Path) -> None:
    """A block beyond it would never be seen where it stands."""
    save_chunks(tmp_path, random_chunks(MODEL, 2, blocks=3))
    with pytest.raises(ValueError, match="3 blocks a sequence; a window has 2"):
        load_chunks(tmp_path, MODEL)


def test_actions_must_be_normalised(tmp_path: Path) -> None:
    """As the original insists: joints in radians would train in silence."""
    chunks = random_chunks(MODEL, 2)
    save_chunks(tmp_path, chunks._replace(action=3 * chunks.action))
    with pytest.raises(ValueError, match=r"leaves \[-1, 1\]"):
        load_chunks(tmp_path, MODEL)


def test_pickled_arrays_are_refused(data: Path, tmp_path: Path) -> None:
    """An object array would run code; it is an error like a file cut short."""
    save_chunks(tmp_path, random_chunks(MODEL, 2))
    np.save(tmp_path / "text.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"text\.npy"):
        load_chunks(tmp_path, MODEL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 5}, "batch is 5; .* 4 sequences"),
        ({"accumulate": 3}, "accumulate is 3"),
        ({"steps": 0}, "steps is 0"),
        ({"lora": -1}, "lora is -1"),
        ({"warmup": 1.0}, r"warmup is 1\.0"),
        ({"dropout": 7.0}, "dropout is 7"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"shift": -1.0}, "shift is -1"),
    ],
)
def test_settings_that_do_not_fit_are_errors(
    changes: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    """Before anything is compiled or written."""
    settings = FinetuneSettings(steps=10, batch=4)._replace(**changes)
    with pytest.raises(ValueError, match=message):
        finetune(PARAMS, data, tmp_path, settings)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": np.zeros((2, 3, 4, 4, 4))}, "one frame and then whole blocks"),
        ({"action": np.zeros((2, 4, 2))}, r"action must have shape \(2, 8, 2\)"),
        ({"t_video": np.zeros((2,))}, r"t_video must have shape \(2, 5\)"),
    ],
)
def test_training_inputs_are_checked(changes: dict[str, Any], message: str) -> None:
    """Shapes that do not fit the configuration or one another are errors."""
    chunks = random_chunks(MODEL, 2)
    inputs = {
        "video": chunks.video,
        "action": chunks.action,
        "state": chunks.state,
        "t_video": np.zeros((2, FRAMES)),
        "t_action": np.zeros(chunks.action.shape[:2]),
    } | changes
    model = bind(SMALL, random_weights(SMALL))
    with pytest.raises(ValueError, match=message):
        teacher_forcing.forward(model, *inputs.values(), None)  # pyright: ignore
