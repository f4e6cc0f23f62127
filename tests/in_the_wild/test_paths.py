"""Paths with ``~``: a home folder in every function and option, never a folder here."""

import argparse
import ast
import importlib
import json
import os
import re
from pathlib import Path, PurePosixPath

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jax_stepcache
from jax_stepcache import Params, load_params, save_params
from jax_stepcache.cli import parser as cli
from jax_stepcache.models.dreamzero import (
    DreamZeroPipeline,
    LatentPipeline,
    RobotSession,
)
from jax_stepcache.models.dreamzero.session.session import session_struct
from jax_stepcache.models.dreamzero.training import FinetuneSettings
from jax_stepcache.models.dreamzero.training.chunks import chunks_struct
from jax_stepcache.models.tabletop import TabletopModel, tabletop_config, weights_struct
from jax_stepcache.models.training.command import run_parser
from jax_stepcache.models.training.step import init_state
from jax_stepcache.network.tuned import TunedFile
from jax_stepcache.paths import as_path, path_option

ROOT = Path(__file__).parents[2]
MODEL = TabletopModel(tabletop_config(dim=32, num_layers=1))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and another where the process is; nothing may come up there."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    yield home
    assert list(here.iterdir()) == []


@pytest.fixture(scope="module")
def params():
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), weights_struct(MODEL))
    return Params(zeros, MODEL)


# --- the one place ----------------------------------------------------------------


class _Named(os.PathLike):
    def __fspath__(self):
        return "~/x"


def test_a_path_is_what_a_shell_makes_of_it(home):
    """Strings and path objects of any kind; a file called ``~`` is ``./~``."""
    for given in ("~/x", Path("~/x"), PurePosixPath("~/x"), _Named()):
        assert as_path(given) == home / "x"
    assert as_path("~") == home
    assert as_path("./~/x") == as_path(as_path("./~/x")) == Path.cwd() / "~" / "x"
    assert as_path("a/~") == Path("a/~")
    root = os.path.expanduser("~root")
    assert as_path("~root/x") == Path(root, "x")
    assert path_option("~/x") == home / "x"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (None, TypeError, "path is None, of type NoneType; give a path"),
        (3, TypeError, "path is 3, of type int"),
        (b"x", TypeError, "path is b'x'"),
        ("", ValueError, "path is ''; give the name"),
        ("a\0b", ValueError, "give the name of a file"),
        ("~nobody-of-this-name/x", ValueError, "no home folder of that user"),
    ],
)
def test_what_is_no_path_is_told(given, error, said):
    """By argument, instead of from deep inside."""
    with pytest.raises(error, match=said):
        as_path(given)
    if error is ValueError:
        with pytest.raises(argparse.ArgumentTypeError, match=said):
            path_option(given)


def test_no_other_place_makes_a_path_of_what_it_is_given():
    """``Path(argument)`` would leave ``~`` as it is, and so would ``type=Path``."""
    strays = [
        f"{file}: {found[0]}"
        for folder in ("jax_stepcache", "models", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if file.name != "paths.py"
        for found in re.finditer(r"(?<!\w)(type=Path\b|Path\(\w+\))", file.read_text())
        if found[0] not in _OWN
    ]
    assert not strays


# What is not somebody's path: a module's file, a name in an index.
_OWN = ("Path(__file__)", "Path(name)")


# --- every function that takes a path ---------------------------------------------


def _chunks():
    return jax.tree.map(
        lambda x: np.zeros(x.shape, np.float32), chunks_struct(MODEL, 2, 1)
    )


def _stats():
    bounds = {"q01": [0.0], "q99": [1.0]}
    keys = ("joint_position", "gripper_position")
    groups = {group: dict.fromkeys(keys, bounds) for group in ("state", "action")}
    return {"oxe_droid": {"statistics": groups}}


class _Tools:
    """What the calls below need; the same for all of them."""

    def __init__(self, params):
        self.params = params
        self.pipeline = DreamZeroPipeline(params, guidance_scale=1.0)
        words = jnp.zeros((1, MODEL.dit.text_len, MODEL.dit.text_dim))
        self.session = self.pipeline.start(words)
        self.state = init_state(params.weights, optax.sgd(0.1))
        self.calibration = jax_stepcache.Calibration(
            "static", {}, {}, True, 1, {}, {}, ()
        )
        self.threshold = jax_stepcache.Calibration(
            "tea_cache", {"rel_l1_thresh": 0.2}, {}, True, 1, {}, {"num_steps": 4}, ()
        )


@pytest.fixture(scope="module")
def tools(params):
    return _Tools(params)


def _of(name):
    return importlib.import_module(f"jax_stepcache.{name}")


def _settings(module):
    return _of(module).Settings(steps=1, batch=2, warmup=0)


def _stood():
    """Where a fit stands that has only begun."""
    zero = np.zeros(1, np.float32)
    stood = _of("calibration.table_state").Progressed
    scale = np.zeros((1, 1), np.float32)
    return stood(0, zero, zero, zero, zero, 0.0, 0, scale, 0)


# By where it is and what its parameter is called: a call with a path. The first kind
# writes, the second reads what the first has written under that name.
WRITES = {
    "calibration.result:Calibration.save(path)": (
        "found.json",
        lambda x, path: x.calibration.save(path),
    ),
    "calibration.settings:save_settings(path)": (
        "settings.json",
        lambda x, path: jax_stepcache.save_settings(path, x.threshold),
    ),
    "calibration.table_state:write_state(path)": (
        "fit.npz",
        lambda x, path: _of("calibration.table_state").write_state(path, _stood(), "0"),
    ),
    "checkpoints.weights:save_weights(path)": (
        "some.safetensors",
        lambda x, path: _of("checkpoints.weights").save_weights(
            path, {"w": np.ones(2)}, {}
        ),
    ),
    "network.registry:save_params(path)": (
        "mine",
        lambda x, path: save_params(path, x.params),
    ),
    "models.dreamzero.training.chunks:save_chunks(folder)": (
        "data",
        lambda x, path: _of("models.dreamzero.training.chunks").save_chunks(
            path, _chunks()
        ),
    ),
    "models.dreamzero.session.file:save_session(path)": (
        "session",
        lambda x, path: _of("models.dreamzero.session.file").save_session(
            path, x.session
        ),
    ),
    "models.dreamzero.pixels.film:save_film(path)": (
        "film.gif",
        lambda x, path: _of("models.dreamzero.pixels.film").save_film(
            path, np.zeros((2, 4, 4, 3), np.uint8)
        ),
    ),
    "models.dreamzero.pixels.tiny:write_tiny(folder)": (
        "DreamZero-tiny",
        lambda x, path: _of("models.dreamzero.pixels.tiny").write_tiny(path),
    ),
    "models.pi0.tiny:write_tiny(folder)": (
        "pi0-tiny",
        lambda x, path: _of("models.pi0.tiny").write_tiny(path),
    ),
    "models.flux.tiny:write_tiny(folder)": (
        "FLUX-tiny",
        lambda x, path: _of("models.flux.tiny").write_tiny(path),
    ),
    "models.wan.tiny:write_tiny(folder)": (
        "Wan-tiny",
        lambda x, path: _of("models.wan.tiny").write_tiny(path),
    ),
    "models.films:write_film(path)": (
        "other.gif",
        lambda x, path: _of("models.films").write_film(
            path, np.zeros((2, 4, 4, 3), np.uint8), 5
        ),
    ),
    "models.wan.film:WanFilm.save(path)": (
        "third.gif",
        lambda x, path: (
            _of("models.wan")
            .WanFilm(np.zeros((2, 4, 4, 3), np.uint8), None, None, 5)
            .save(path)
        ),
    ),
    "models.dreamzero.control.pipeline:LatentPipeline.save_session(path)": (
        "session2",
        lambda x, path: LatentPipeline.save_session(x.pipeline, path, x.session),
    ),
    "models.dreamzero.pixels.pipeline:DreamZeroPipeline.save_session(path)": (
        "session3",
        lambda x, path: x.pipeline.save_session(path, x.session),
    ),
    "models.dreamzero.pixels.file:save_any_session(path)": (
        "robot",
        lambda x, path: _of("models.dreamzero.pixels.file").save_any_session(
            path, RobotSession()
        ),
    ),
    "models.training.export:write_json(path)": (
        "some.json",
        lambda x, path: _of("models.training.export").write_json(path, _stats()),
    ),
    "models.training.export:export_run(path)": (
        "run.safetensors",
        lambda x, path: _of("models.training.export").export_run(
            path,
            x.state,
            model="tabletop",
            config=_of("models.tabletop").config_of(MODEL),
            command="",
            settings=FinetuneSettings(),
        ),
    ),
    "models.tabletop.train:export(path)": (
        "tabletop.safetensors",
        lambda x, path: _of("models.tabletop.train").export(
            x.state, FinetuneSettings(), MODEL, path, ""
        ),
    ),
    "models.dit.train:export(path)": (
        "dit.safetensors",
        lambda x, path: _of("models.dit.train").export(
            x.state, FinetuneSettings(), jax_stepcache.load_model("dit"), path, ""
        ),
    ),
    "models.film.train:export(path)": (
        "film.safetensors",
        lambda x, path: _of("models.film.train").export(
            x.state, FinetuneSettings(), _of("models.film").FILM, path, ""
        ),
    ),
}
READS = {
    "calibration.settings:load_settings(path)": (
        "settings.json",
        lambda x, path: jax_stepcache.load_settings(path),
    ),
    "calibration.table_state:read_state(path)": (
        "fit.npz",
        lambda x, path: _of("calibration.table_state").read_state(path, _stood(), "0"),
    ),
    "checkpoints.weights:load_weights(path)": (
        "some.safetensors",
        lambda x, path: _of("checkpoints.weights").load_weights(path),
    ),
    "checkpoints.weights:load_metadata(path)": (
        "some.safetensors",
        lambda x, path: _of("checkpoints.weights").load_metadata(path),
    ),
    "checkpoints.weights:open_safetensors(path)": (
        "some.safetensors",
        lambda x, path: _of("checkpoints.weights").open_safetensors(path).__enter__(),
    ),
    "checkpoints.shards:Shards.__init__(path)": (
        "some.safetensors",
        lambda x, path: _of("checkpoints.shards").Shards(path),
    ),
    "network.registry:load_params(source)": (
        "mine",
        lambda x, path: load_params(path),
    ),
    "network.registry:load_model(source)": (
        "run.safetensors",
        lambda x, path: jax_stepcache.load_model(path),
    ),
    "network.registry:open_checkpoint(source)": (
        "mine",
        lambda x, path: _of("network.registry").open_checkpoint(path),
    ),
    "models.dreamzero.training.chunks:load_chunks(folder)": (
        "data",
        lambda x, path: _of("models.dreamzero.training.chunks").load_chunks(
            path, MODEL
        ),
    ),
    "models.dreamzero.training.chunks:open_chunks(folder)": (
        "data",
        lambda x, path: _of("models.dreamzero.training.chunks").open_chunks(
            path, MODEL
        ),
    ),
    "models.dreamzero.session.file:load_session(path)": (
        "session",
        lambda x, path: _of("models.dreamzero.session.file").load_session(
            path, MODEL.size, False
        ),
    ),
    "models.dreamzero.control.pipeline:LatentPipeline.load_session(path)": (
        "session2",
        lambda x, path: LatentPipeline.load_session(x.pipeline, path),
    ),
    "models.dreamzero.pixels.pipeline:DreamZeroPipeline.load_session(path)": (
        "session3",
        lambda x, path: x.pipeline.load_session(path),
    ),
    "models.dreamzero.pixels.file:is_of_robot(path)": (
        "robot",
        lambda x, path: _of("models.dreamzero.pixels.file").is_of_robot(path),
    ),
    "models.dreamzero.pixels.file:load_robot_session(path)": (
        "robot",
        lambda x, path: _of("models.dreamzero.pixels.file").load_robot_session(
            path,
            session_struct(MODEL.size, 1, False),
            _of("models.dreamzero.pixels.views").get_views("droid"),
            False,
        ),
    ),
    "serving.robots.opening:check_policy(source)": (
        "mine",
        lambda x, path: _of("serving.robots.opening").check_policy(path),
    ),
    "serving.robots.opening:policy_from(source)": (
        "mine",
        lambda x, path: _of("serving.robots.opening").policy_from(path),
    ),
    "models.worlds.policy:load_policy(source)": (
        "mine",
        lambda x, path: _of("models.tabletop").load_policy(path),
    ),
    "models.dreamzero.pixels.policy:load_policy(source)": (
        "DreamZero-tiny",
        lambda x, path: _of("models.dreamzero").load_policy(path),
    ),
    "models.dreamzero.pixels.folder:load_folder(folder)": (
        "DreamZero-tiny",
        lambda x, path: _of("models.dreamzero.pixels.folder").load_folder(
            path, "droid"
        ),
    ),
    "models.dreamzero.pixels.folder:load_folder(tokenizer)": (
        "DreamZero-tiny",
        lambda x, path: _of("models.dreamzero.pixels.folder").load_folder(
            path, "droid", path / "tokenizer.json"
        ),
    ),
    "models.dreamzero.pixels.pipeline:DreamZeroPipeline.from_folder(folder)": (
        "DreamZero-tiny",
        lambda x, path: _of("models.dreamzero").DreamZeroPipeline.from_folder(path),
    ),
    "models.dreamzero.pixels.pipeline:DreamZeroPipeline.from_folder(tokenizer)": (
        "DreamZero-tiny",
        lambda x, path: _of("models.dreamzero").DreamZeroPipeline.from_folder(
            path, tokenizer=path
        ),
    ),
    "models.films:check_film(path)": (
        "other.gif",
        lambda x, path: _of("models.films").check_film(path),
    ),
    "checkpoints.orbax_arrays:OrbaxArrays.__init__(path)": (
        "pi0-tiny",
        lambda x, path: _of("checkpoints.orbax_arrays").OrbaxArrays(path / "params"),
    ),
    "models.pi0.pipeline:Pi0Pipeline.from_folder(folder)": (
        "pi0-tiny",
        lambda x, path: _of("models.pi0").Pi0Pipeline.from_folder(path),
    ),
    "models.pi0.pipeline:Pi0Pipeline.from_folder(tokenizer)": (
        "pi0-tiny",
        lambda x, path: _of("models.pi0").Pi0Pipeline.from_folder(path, tokenizer=path),
    ),
    "models.pi0.policy:load_policy(source)": (
        "pi0-tiny",
        lambda x, path: _of("models.pi0").load_policy(path),
    ),
    "models.pi0.robot.statistics:load_statistics(path)": (
        "pi0-tiny",
        lambda x, path: _of("models.pi0").load_statistics(path, quantiles=False),
    ),
    "models.pi0.robot.words:load_words(path)": (
        "pi0-tiny",
        lambda x, path: _of("models.pi0").load_words(path, 8, with_state=False),
    ),
    "models.flux.pipeline:FluxPipeline.from_folder(folder)": (
        "FLUX-tiny",
        lambda x, path: _of("models.flux").FluxPipeline.from_folder(path),
    ),
    "models.wan.pipeline:WanPipeline.from_folder(tokenizer)": (
        "Wan-tiny",
        lambda x, path: _of("models.wan").WanPipeline.from_folder(path, tokenizer=path),
    ),
    "models.prompts.tokenizer:load_tokenizer(path)": (
        "DreamZero-tiny",
        lambda x, path: _of("models.prompts").load_tokenizer(path),
    ),
    "models.dreamzero.robot.statistics:load_statistics(path)": (
        "some.json",
        lambda x, path: _of("models.dreamzero.robot.statistics").load_statistics(
            path, "droid"
        ),
    ),
}
# These take long or need more, and are called below in ways of their own.
OTHERS = {
    "paths:as_path(given)",
    "paths:numbered(path)",
    "checkpoints.convert:convert(target)",
    "checkpoints.folder:FolderWriter.__init__(path)",
    "checkpoints.weights:checked_metadata(path)",  # in the words of an error
    "checkpoints.weights:require_checksum(path)",
    "models.dreamzero.session.file:session_of(path)",  # likewise
    "measure.summary:Summary.plot(path)",
    "measure.summary.plot:draw(path)",
    "models.dreamzero.training:finetune(data)",
    "models.dreamzero.training:finetune(out)",
    "models.prompts.tokenizer:load_tokenizer(path)",
    "models.training.loop:fit(folder)",
    # Below, with a file of somebody's.
    "models.checkpoints.lora.file:LoraFile.__init__(path)",
    "models.checkpoints.lora.merging:check_lora(path)",
    "models.checkpoints.lora.merging:merge_lora(path)",
    "models.checkpoints.lora.beside:keep_lora(path)",
    "models.wan.pipeline:WanPipeline.from_folder(lora)",
    "models.flux.pipeline:FluxPipeline.from_folder(lora)",
    "models.flux.pipeline:FluxPipeline.from_folder(transformer)",
    # These pass on what they are given, to what is tried here.
    "models.films:read_film(path)",
    "models.flux.folder:load_folder(folder)",
    "models.flux.folder:load_folder(lora)",
    "models.flux.folder:load_folder(transformer)",
    "models.flux.making:make_pictures(folder)",
    "models.flux.making:make_pictures(out)",
    "models.flux.pictures:FluxPicture.save(path)",
    "models.flux.pictures:check_picture(path)",
    "models.prompts.clip:load_clip_tokenizer(path)",
    "models.wan.folder:load_folder(folder)",
    "models.wan.folder:load_folder(tokenizer)",
    "models.wan.pipeline:WanPipeline.from_folder(folder)",
    "models.wan.making:make_films(folder)",
    "models.wan.making:make_films(out)",
    "models.tabletop.train:train(folder)",
    "serving.robots.running:PolicyServer.run(certificate)",
    "serving.robots.running:PolicyServer.run(key)",
    "models.dit.train:train(folder)",
    "models.film.making:make_films(out)",
    "models.film.making:make_films(source)",
    "models.film.train:train(folder)",
    "models.metaworld.train:train(folder)",
}


def _take_paths():
    """All functions and methods with a parameter that is annotated as a path."""
    for folder in ("jax_stepcache", "models"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            module = ".".join(parts if folder == "models" else parts[1:])
            module = module.removesuffix(".__init__").removesuffix(".finetune")
            tree = ast.parse(file.read_text())
            for node in ast.walk(tree):
                if not isinstance(node, ast.Module | ast.ClassDef):
                    continue
                for one in node.body:
                    if not isinstance(one, ast.FunctionDef):
                        continue
                    owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
                    for name in _path_parameters(one):
                        if not one.name.startswith("_") or one.name == "__init__":
                            yield f"{module}:{owner}{one.name}({name})"


def _path_parameters(function):
    given = function.args
    for one in (*given.posonlyargs, *given.args, *given.kwonlyargs):
        if one.annotation is not None and "PathLike" in ast.unparse(one.annotation):
            yield one.arg


def test_every_function_that_takes_a_path_is_tried_here():
    """A new one comes into the tables above, or this fails."""
    found = set(_take_paths())
    assert len(found) > 30
    assert found == {*WRITES, *READS, *OTHERS}


def test_every_function_that_writes_and_reads(home, tools):
    """With ``~``: all that is written lies in the home folder, and is read there."""
    for where, (name, call) in WRITES.items():
        call(tools, f"~/{name}")
        assert (home / name).exists(), where
    for name, call in READS.values():
        call(tools, Path("~", name))


def test_a_tokenizer_is_looked_for_at_home(home):
    """Its libraries are optional, so that none is read here."""
    (home / "x").mkdir()
    with pytest.raises(FileNotFoundError, match=f"no tokenizer in {home / 'x'}"):
        _of("models.prompts").load_tokenizer("~/x")


@pytest.mark.slow
def test_functions_that_are_slower_to_call(home, params, monkeypatch):
    """Conversion, plots and training: where their files would be."""
    from jax_stepcache.checkpoints.folder import FolderWriter
    from jax_stepcache.models.dit import train as dit
    from jax_stepcache.models.tabletop import train as tabletop
    from jax_stepcache.models.training import loop

    assert FolderWriter("~/folder").partial == home / "folder.partial"
    jax_stepcache.summary(_uncached()).plot("~/plot.png")
    assert (home / "plot.png").is_file()

    def begins(path, settings):
        raise RuntimeError(str(path))

    monkeypatch.setattr(loop, "keep_settings", begins)
    digits = jax.tree.map(np.asarray, _digits())
    runs = {
        "tabletop": lambda path: tabletop.train(
            _settings("models.tabletop.train"), MODEL, path
        ),
        "dit": lambda path: dit.train(
            _settings("models.dit.train"),
            jax_stepcache.load_model("dit"),
            digits,
            path,
        ),
        "finetune": lambda path: _finetune(params, path),
    }
    for name, run in runs.items():
        with pytest.raises(RuntimeError, match=str(home / name)):
            run(f"~/{name}")


def _uncached():
    model = jax_stepcache.load_params("dit")
    return jax_stepcache.sample(model, num_inference_steps=2)


def _digits():
    from jax_stepcache.models.dit.training.digits import Digits

    return Digits(np.zeros((4, 8, 8, 1), np.float32), np.zeros(4, np.int32))


def _finetune(params, out):
    from jax_stepcache.models.dreamzero.training import finetune, save_chunks

    save_chunks("~/sequences", _chunks())
    finetune(params, "~/sequences", out, FinetuneSettings(steps=1, batch=2, lora=1))


def test_lora_of_somebodys(home):
    """A file in a home folder, merged or kept beside."""
    from jax_stepcache.models.checkpoints.lora import keep_lora, merge_lora
    from tests.models.checkpoints.lora.toy import params_of, write

    write(home / "x.safetensors", {"head.head.diff_b": np.ones(4, np.float32)})
    for apply in (merge_lora, keep_lora):
        apply(params_of(), "~/x.safetensors")


def test_settings_beside_weights(home):
    """A model of somebody's, with its settings in a home folder."""
    (home / "tuned.json").write_text(json.dumps({"num_steps": 4, "settings": {}}))
    with pytest.raises(ValueError, match="no tuned schedule of 4 model calls"):
        TunedFile("~/tuned.json").schedule(4)
    (home / "tuned.json").write_text("{")
    with pytest.raises(ValueError, match="it is not JSON"):
        TunedFile("~/tuned.json").schedule(4)


def test_files_of_a_server(home):
    """Its certificate, and the folder of its sessions."""
    pytest.importorskip("starlette")
    from tests.serving.robots.toy import Counting

    server = jax_stepcache.policy_server(Counting(), sessions="~/sessions")
    assert server.service.settings.folder == home / "sessions"
    with pytest.raises(FileNotFoundError, match=f"no file {home / 'cert.pem'}"):
        server.run(port=0, certificate="~/cert.pem", key="~/key.pem")


# --- every option that takes a path -----------------------------------------------

LINES = {
    "sample": ["--out=~/x"],
    "rollout": ["--out=~/x"],
    "calibrate": ["--psnr", "30", "--json=~/x"],
    "convert": ["SRC", "~/x"],
    "info": ["NAME"],
    "finetune": ["--data=~/x", "--out=~/x"],
    "serve": [
        *("--sessions=~/x", "--token-file=~/x"),
        *("--tls-certificate=~/x", "--tls-key=~/x"),
    ],
}


def test_every_option_of_the_command(home, capsys):
    """Options that are called a path, a file or a folder, of all subcommands."""
    with pytest.raises(SystemExit):
        cli.parse(["--help"])
    listed = capsys.readouterr().out
    assert all(command in listed for command in LINES)
    paths = 0
    for command, line in LINES.items():
        for name, value in vars(cli.parse([command, *line])).items():
            if isinstance(value, Path) and name != "out":
                paths += 1
            if name in ("json", "target", "data") or (
                name == "out" and "~" in str(line)
            ):
                assert value == home / "x", (command, name)
            assert "~" not in str(value), (command, name)
    assert paths == 7


def test_every_option_of_the_training_commands(home):
    """Also where a shell leaves the ``~``, behind an equals sign."""
    parser = run_parser("Train.", FinetuneSettings())
    assert parser.parse_args(["--out=~/run"]).out == home / "run"


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_folders_that_there_are_stay(path, home, params):
    """Also those that have no name."""
    with pytest.raises(FileExistsError, match="exists; give a new name"):
        save_params(path, params)


def test_options_that_are_a_name_or_a_path(home, params, capsys):
    """``--params=~/mine`` reaches `load_params` as it was typed."""
    from jax_stepcache.cli.main import main

    save_params("~/mine", params)
    assert main(["info", "~/mine"]) == 0
    assert "tabletop" in capsys.readouterr().out
    assert main(["convert", "~/mine", "~/again"]) == 1
    assert "in this format already" in capsys.readouterr().err
