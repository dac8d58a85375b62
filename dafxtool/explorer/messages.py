"""Pack JSON and arrays into binary messages for the page, as messages.js reads them.

A message is its length and the length of its JSON (uint32, little-endian), the JSON, and the
arrays, each from a multiple of 8 bytes after the start of the message. A stream is messages one
after the other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 8  # bytes
TYPES = {"float32": "<f4", "uint8": "|u1", "int8": "|i1"}


def pack(content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> bytes:
    """Pack content and named arrays into one message.

    arrays  float32, uint8 or int8
    """
    described, blocks, size = {}, [], 0
    for name, array in (arrays or {}).items():
        block = np.ascontiguousarray(array, dtype=TYPES[str(array.dtype)]).tobytes()
        described[name] = {"type": str(array.dtype), "shape": array.shape, "offset": size}
        blocks.append(block + bytes(-len(block) % ALIGNMENT))
        size += len(blocks[-1])
    text = json.dumps({**content, "arrays": described}, separators=(",", ":"), allow_nan=False)
    encoded = text.encode()
    encoded += b" " * (-(len(encoded) + 8) % ALIGNMENT)
    return b"".join([struct.pack("<2I", 8 + len(encoded) + size, len(encoded)), encoded, *blocks])


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the content and the arrays of one message."""
    _, length = struct.unpack_from("<2I", message)
    content = json.loads(message[8 : 8 + length])
    arrays = {}
    for name, each in content.pop("arrays").items():
        count = int(np.prod(each["shape"]))
        start = 8 + length + each["offset"]
        array = np.frombuffer(message, TYPES[each["type"]], count, start)
        arrays[name] = array.reshape(each["shape"]).copy()
    return content, arrays
