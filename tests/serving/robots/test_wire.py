"""Messages on the wire: openpi's encoding, and nothing beyond its limits."""

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jax_stepcache.serving.robots.wire import pack, unpack

_DTYPES = ["|b1", "|u1", "<i2", ">i4", "<i8", "<f2", "<f4", ">f8"]
_ARRAYS = st.sampled_from(_DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | _ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)


def _same(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


@given(st.dictionaries(st.text(), _VALUES, max_size=4))
def test_what_is_packed_is_unpacked(message):
    """Arrays with their dtype, byte order and shape; all else as it was."""
    assert _same(unpack(pack(message)), message)


@given(st.dictionaries(st.text(), _VALUES, max_size=4))
def test_the_bytes_are_openpis(message):
    """The published client's encoder and decoder say the same, bit for bit."""
    theirs = pytest.importorskip("openpi_client.msgpack_numpy")
    assert pack(message) == theirs.packb(message)
    assert _same(theirs.unpackb(pack(message)), message)


def test_scalars_of_numpy_are_sent():
    """As openpi sends them, and text of NumPy's as well."""
    message = {"x": np.float32(0.5), "n": np.int64(3), "yes": np.bool_(True)}
    assert unpack(pack(message)) == message
    assert type(unpack(pack(message))["x"]) is np.float32
    assert unpack(pack({"prompt": np.str_("fold")})) == {"prompt": "fold"}
    assert unpack(pack({"prompt": np.array("fold")}))["prompt"].item() == "fold"


def _array(**changed):
    held = {"__ndarray__": True, "data": b"\0" * 8, "dtype": "<f4", "shape": [2]}
    held |= changed
    return {"x": {k.encode(): v for k, v in held.items() if v is not None}}


def _deep(levels):
    nested = 1
    for _ in range(levels):
        nested = [nested]
    return {"x": nested}


_BAD = {
    "an object dtype": (_array(dtype="|O", data=b"\0" * 16), "dtype '|O' is not sent"),
    "a void dtype": (_array(dtype="|V4"), "is not sent"),
    "a complex dtype": (_array(dtype="<c8", shape=[1]), "is not sent"),
    "fields": (_array(dtype="<f4,<f4", shape=[1]), "is not sent"),
    "a dtype that is no text": (_array(dtype=[["a", "<f4"]]), "is not sent"),
    "too few bytes": (_array(shape=[3]), "has 8 bytes"),
    "a huge shape": (_array(shape=[2**40, 2**40]), "has 8 bytes"),
    "a huge shape of nothing": (_array(shape=[0, 2**62], data=b""), "no message|shape"),
    "a negative side": (_array(shape=[-1]), "says its shape"),
    "a shape of truth": (_array(shape=[True, 2]), "says its shape"),
    "many dimensions": (_array(shape=[1] * 9 + [2]), "says its shape"),
    "no data": (_array(data=None), "needs the keys"),
    "data that is text": (_array(data="12345678"), "send bytes"),
    "text that is none": (_array(dtype="<U2", data=b"\xff" * 8, shape=[1]), "charact"),
    "a scalar that is none": (
        {"x": {b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}},
        "has the value 300",
    ),
    "a scalar that is a list": (
        {"x": {b"__npgeneric__": True, b"data": [1], b"dtype": "|u1"}},
        "data is a list",
    ),
    "depth": (_deep(9), "nested deeper"),
    "more depth": (_deep(400), "nested deeper|no message"),
    "many entries": ({"x": [[0] * 4000, [0] * 4000]}, "more than 4096 entries"),
    "many empty maps": ({"x": [[{}] * 3000]}, "more than 4096 entries"),
    "a long text": ({"x": "0" * 9000}, "no message: 9000 exceeds"),
    "a long key": ({"0" * 9000: 1}, "no message: 9000 exceeds"),
    "an array of long texts": (_array(dtype="<U10000", shape=[]), "is not sent"),
    "a long list": ({"x": [0] * 5000}, "no message"),
    "a key that is bytes": ({"x": {b"y": 1}}, "keys are text"),
    "a time": ({"x": msgpack.Timestamp(1)}, "Timestamp, which is not sent|no message"),
    "an extension": ({"x": msgpack.ExtType(5, b"1234")}, "no message"),
    "a list": ([1, 2], "is a list"),
}


@pytest.mark.parametrize("case", _BAD)
def test_what_is_no_message_is_refused(case):
    """In a ValueError that says what is wrong, whatever the bytes claim."""
    message, words = _BAD[case]
    with pytest.raises(ValueError, match=words):
        unpack(msgpack.packb(message))


def _decodes_or_refuses(data):
    try:
        message = unpack(data)
    except ValueError:
        return
    assert isinstance(message, dict)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_a_value_error(data):
    """Nothing else is raised, and nothing else comes out."""
    _decodes_or_refuses(data)


@given(st.data())
def test_a_message_with_bytes_changed_is_one_or_a_value_error(data):
    """Near messages is where a decoder breaks."""
    frame = bytearray(pack({"x": np.zeros((2, 3), np.float32), "s": "t", "n": [1, {}]}))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(
            st.integers(0, 255)
        )
    _decodes_or_refuses(bytes(frame))


@pytest.mark.parametrize("what", [np.array([None]), np.zeros(2, "c8"), object()])
def test_what_has_no_encoding_is_not_packed(what):
    """No pickle steps in for it."""
    with pytest.raises(TypeError, match="not sent"):
        pack({"x": what})
