"""Binary messages: what is packed is unpacked."""

import numpy as np

from dafxtool.explorer.messages import pack, unpack


def test_content_and_arrays_survive_a_round_trip():
    arrays = {
        "wet": np.linspace(-1, 1, 7, dtype=np.float32),
        "image": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "empty": np.empty((0,), np.float32),
    }
    message = pack({"label": "Röhre, 3 dB"}, arrays)
    assert int.from_bytes(message[:4], "little") == len(message)
    content, found = unpack(message)
    assert content == {"label": "Röhre, 3 dB"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_arrays_start_at_aligned_offsets():
    for length in range(9):
        message = pack({"text": "x" * length}, {"a": np.ones(1, np.uint8), "b": np.ones(1, "f")})
        head = 8 + int.from_bytes(message[4:8], "little")
        assert head % 8 == 0 and (len(message) - head) == 16
