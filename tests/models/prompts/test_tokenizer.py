"""Prompts become the tokens that a tokenizer's file says; small ones, trained here."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.prompts import clean, load_tokenizer

tokenizers = pytest.importorskip("tokenizers")
sentencepiece = pytest.importorskip("sentencepiece")
pytest.importorskip("ftfy")

WORDS = (
    "pick up the red cube and put it into the blue bowl, then close the drawer of the "
    "table while the robot moves its arm to the left and to the right"
)
TEXTS = [WORDS, *WORDS.split(), "the robot puts it down", "a bowl & a cube"]
LENGTH = 12


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A folder as Wan releases it, its file in tokenizers' format, as UMT5's is."""
    folder = tmp_path_factory.mktemp("tokenizer")
    made = tokenizers.Tokenizer(tokenizers.models.Unigram())
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.decoder = tokenizers.decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    # What a file may say of lengths is not what is asked for.
    made.enable_truncation(3)
    made.enable_padding(length=5)
    (folder / "google" / "umt5-xxl").mkdir(parents=True)
    made.save(str(folder / "google" / "umt5-xxl" / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A folder with a model of sentencepiece alone."""
    folder = tmp_path_factory.mktemp("pieces") / "tokenizer"
    folder.mkdir()
    with (folder / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS),
            model_writer=file,
            vocab_size=60,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return folder.parent


@pytest.fixture(params=["released", "pieces"])
def folder(request):
    return request.getfixturevalue(request.param)


def test_rows_end_and_are_filled_up(folder):
    """The end is token 1, what fills up 0 and not seen; all in front is the text."""
    tokenizer = load_tokenizer(folder, LENGTH)
    assert (tokenizer.pad, tokenizer.end) == (0, 1)
    ids, mask = tokenizer(["the red cube", "", "left"])
    assert ids.shape == mask.shape == (3, LENGTH)
    assert ids.dtype == mask.dtype == np.int32
    for row, seen in zip(ids, mask, strict=True):
        count = seen.sum()
        assert (np.sort(seen)[::-1] == seen).all()
        assert row[count - 1] == 1
        assert (row[: count - 1] > 1).all()
        assert not row[count:].any()
    assert mask[1].sum() == 1
    np.testing.assert_array_equal(tokenizer("left").ids[0], ids[2])


def test_what_is_too_long_keeps_its_end(folder):
    """The original's way; or an error that tells how long it is."""
    tokenizer = load_tokenizer(folder, LENGTH)
    every = tokenizer.tokens_of(WORDS)
    assert len(every) > LENGTH
    ids, mask = tokenizer(WORDS)
    np.testing.assert_array_equal(ids[0], [*every[: LENGTH - 1], 1])
    assert mask.all()
    with pytest.raises(ValueError, match=rf"has {len(every)} tokens .*room for 12"):
        tokenizer(WORDS, truncate=False)
    exact = load_tokenizer(folder, len(every))
    np.testing.assert_array_equal(exact(WORDS, truncate=False).ids[0], every)


def test_tokens_are_those_of_the_library(released):
    """Of the cleaned text, with nothing else done to it."""
    file = released / "google" / "umt5-xxl" / "tokenizer.json"
    plain = tokenizers.Tokenizer.from_file(str(file))
    plain.no_truncation()
    plain.no_padding()
    ours = load_tokenizer(file).tokens_of("  the\n\tred   cube ")
    assert ours == plain.encode("the red cube").ids
    assert len(load_tokenizer(released)("x").ids[0]) == 512


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (" two\n words\t", "two words"),
        ("a &amp;amp; b", "a & b"),
        ("&lt;b&gt;", "<b>"),
        ("itâ€™s schÃ¶n", "it's schön"),
        ("wide\u3000and\xa0hard", "wide and hard"),
        ("\x00bell\x07", "bell"),
        ("ﬁne", "fine"),
    ],
)
def test_cleaning(given, wanted):
    """Encodings, HTML twice over, whitespace of all kinds, as ftfy and the original."""
    assert clean(given) == wanted


@given(st.text(max_size=40))
def test_cleaned_texts_have_single_blanks(text):
    """And none at the ends."""
    cleaned = clean(text)
    assert cleaned == " ".join(cleaned.split())


def test_a_folder_without_a_tokenizer(tmp_path):
    """All places are named."""
    with pytest.raises(
        FileNotFoundError, match=r"tokenizer/spiece\.model, google/umt5"
    ):
        load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load_tokenizer(tmp_path / "nothing")


def test_files_of_something_else(tmp_path, released):
    """Cut short, another's, a pointer, or without what UMT5 has."""
    file = tmp_path / "tokenizer.json"
    text = (released / "google" / "umt5-xxl" / "tokenizer.json").read_text()
    for other in (text[:200], "{}"):
        file.write_text(other)
        with pytest.raises(ValueError, match="is no tokenizer"):
            load_tokenizer(file)
    file.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="Git LFS pointer"):
        load_tokenizer(file)
    without = json.loads(text.replace("<pad>", "<fill>"))
    file.write_text(json.dumps(without))
    with pytest.raises(ValueError, match="no token '<pad>'"):
        load_tokenizer(file)
    (tmp_path / "spiece.model").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no model of sentencepiece"):
        load_tokenizer(tmp_path / "spiece.model")


@pytest.mark.parametrize(
    ("texts", "kind", "words"),
    [
        ([], ValueError, "texts is empty"),
        ([b"cube"], TypeError, r"texts\[0\] is b'cube', of type bytes"),
        (["cube", None], TypeError, r"texts\[1\] is None"),
    ],
)
def test_what_is_no_text(texts, kind, words, released):
    """Named by its place."""
    with pytest.raises(kind, match=words):
        load_tokenizer(released)(texts)


@pytest.mark.parametrize("package", ["tokenizers", "sentencepiece", "ftfy"])
def test_what_is_not_installed(package, released, pieces, monkeypatch):
    """The command that installs it is told."""
    monkeypatch.setitem(sys.modules, package, None)
    folder = pieces if package == "sentencepiece" else released
    with pytest.raises(ImportError, match=r"pip install 'jax-stepcache\[prompts\]'"):
        load_tokenizer(folder)("cube")
