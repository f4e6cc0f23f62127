"""Conversion appears whole under its name, and goes on where it was interrupted."""

from __future__ import annotations

import contextlib
import os
import sys

import ml_dtypes
import numpy as np
import pytest

from jax_stepcache import load_params
from jax_stepcache.checkpoints.folder import FolderWriter
from jax_stepcache.cli import convert
from jax_stepcache.cli.main import main

from .original import PREFIX, write_original
from .test_released import assert_equal


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return write_original(tmp_path_factory.mktemp("released") / "small")


def interrupted(monkeypatch, command, parts):
    """Runs a command until so many parts are written; returns what was written."""
    written = []
    write = FolderWriter.write

    def stop(self, part, weights):
        if len(written) == parts:
            raise KeyboardInterrupt
        write(self, part, weights)
        written.append(part)

    with monkeypatch.context() as patched:
        patched.setattr(FolderWriter, "write", stop)
        with contextlib.suppress(KeyboardInterrupt):
            main(command)
    return written


def test_the_same_weights_and_model(released, tmp_path, capsys):
    """What is converted loads like the original; it need not be converted again."""
    target = tmp_path / "ours"
    assert main(["convert", str(released), str(target)]) == 0
    assert "100%" in capsys.readouterr().err
    ours, theirs = load_params(target), load_params(released)
    assert ours.model == theirs.model
    assert_equal(ours.weights, theirs.weights)
    assert os.listdir(tmp_path) == ["ours"]
    assert main(["convert", str(target), str(tmp_path / "more")]) == 1
    assert "in this format already" in capsys.readouterr().err


def test_resumed(released, tmp_path, monkeypatch):
    """Parts that were written are kept, the others made, and the result is the same.

    A part that Orbax had not finished when the process died is one of the others.
    """
    target, partial = tmp_path / "ours", tmp_path / "ours.partial"
    command = ["convert", str(released), str(target), "--dtype", "float32"]
    *first, half = interrupted(monkeypatch, command, 4)
    assert os.listdir(tmp_path) == ["ours.partial"]
    folders = {child.name for child in partial.iterdir() if child.is_dir()}
    assert folders == {*first, half}
    (partial / half).rename(partial / f"{half}.orbax-checkpoint-tmp")
    second = interrupted(monkeypatch, command, 1000)
    assert os.listdir(tmp_path) == ["ours"]
    assert len(first) == 3
    assert not set(first) & set(second)
    names = {child.name for child in target.iterdir()}
    assert names == {*first, *second, "model.json"}
    ours, theirs = load_params(target), load_params(released, dtype="float32")
    assert ours.model == theirs.model
    assert_equal(ours.weights, theirs.weights)


def test_not_resumed_from_another_source(released, tmp_path, monkeypatch, capsys):
    """Parts of two checkpoints, or of two dtypes, are never mixed."""
    command = ["convert", str(released), str(tmp_path / "ours")]
    interrupted(monkeypatch, command, 1)
    assert main([*command, "--dtype", "float32"]) == 1
    printed = capsys.readouterr().err
    assert "finish that one first, or remove it" in printed
    assert os.listdir(tmp_path) == ["ours.partial"]


def test_faults_are_listed_before_anything_is_written(tmp_path, capsys):
    """A checkpoint that does not fit leaves nothing behind."""
    folder = write_original(
        tmp_path / "faulty", changes={PREFIX + "head.modulation": None}
    )
    assert main(["convert", str(folder), str(tmp_path / "ours")]) == 1
    assert "missing: action_head.model.head.modulation" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["faulty"]


def test_faults_of_all_parts_are_listed(tmp_path, capsys):
    """Numbers that are not finite show while converting, and all are told."""
    bad = np.full(24, np.nan, ml_dtypes.bfloat16)
    names = [PREFIX + "patch_embedding.bias", PREFIX + "blocks.1.ffn.2.bias"]
    folder = write_original(tmp_path / "faulty", changes=dict.fromkeys(names, bad))
    assert main(["convert", str(folder), str(tmp_path / "ours")]) == 1
    printed = capsys.readouterr().err
    assert all(f"not finite: {name}" in printed for name in names)
    assert not (tmp_path / "ours").exists()


def test_an_existing_target_is_kept(released, tmp_path, capsys):
    """Nothing is overwritten."""
    (tmp_path / "ours").mkdir()
    assert main(["convert", str(released), str(tmp_path / "ours")]) == 1
    assert "exists; give a new name" in capsys.readouterr().err


def test_without_tqdm(monkeypatch, capsys):
    """Progress in plain lines."""
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with convert.progress(3_000_000_000) as on_read:
        on_read(1_000_000_000)
        on_read(2_000_000_000)
    assert capsys.readouterr().out == "3.0 of 3.0 GB\n"
