"""Heaps of text in HDF5 files, looked at before libhdf5 does: on a damaged one it never returns.

A "global heap" holds texts of any length: attributes, and the lines of a table. It is a chain of
objects, each telling where the next begins. libhdf5 (2.0) follows a free one of length 0 to itself
for ever, and makes room for a text of any length that it is told. Here both are looked at from the
file's bytes alone (HDF5 File Format Specification 3.0, III.E). Positions are in bytes, counted from
the beginning of the file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

SIGNATURE = b"GCOL\1\0\0\0"
HEAD_BYTES = 16  # of a heap, and of each object in it
FRONT_BYTES = 1 << 20  # of a file, where its attributes and their heaps lie
REFERENCE = struct.Struct("<IQI")  # to a text: its length, position of the heap, number in it


def front_is_sound(path: Path, attributes: Sequence[str]) -> bool:
    """Can the heaps at the front of a file be walked, and do they hold the texts of attributes?"""
    with path.open("rb") as file:
        front = file.read(FRONT_BYTES)
        position = front.find(SIGNATURE)
        while position >= 0:
            if _objects(file, position) is None:
                return False
            position = front.find(SIGNATURE, position + 1)
        return all(_are_there(file, _reference_of(front, name)) for name in attributes)


def texts_are_sound(path: Path, position: int, count: int) -> bool:
    """Do heaps hold the texts of a table of `count` texts, which lies at `position`?"""
    with path.open("rb") as file:
        file.seek(position)
        return _are_there(file, file.read(count * REFERENCE.size))


def _reference_of(front: bytes, name: str) -> bytes:
    """What an attribute holds, where it is one text; nothing where it is not found.

    Its message is (IV.A.2.m, version 1): sizes of name, type and space, and then these three, each
    filled up to eights, and the reference.
    """
    text = name.encode() + b"\0"
    head = re.escape(b"\1\0" + struct.pack("<H", len(text)))
    padded = re.escape(text.ljust(_eights(len(text)), b"\0"))
    found = re.search(head + b"(....)" + padded, front, re.DOTALL)
    if not found:
        return b""
    begin = found.end() + sum(map(_eights, struct.unpack("<HH", found[1])))
    return front[begin : begin + REFERENCE.size]


def _are_there(file: BinaryIO, table: bytes) -> bool:
    """Are the texts that these references tell of as long in their heaps as they say?"""
    known: dict[int, dict[int, int] | None] = {}
    for length, position, number in REFERENCE.iter_unpack(table[: len(table) // 16 * 16]):
        if not length:
            continue
        if position not in known:
            known[position] = _objects(file, position)
        objects = known[position]
        if objects is None or objects.get(number, 0) < length:
            return False
    return True


def _objects(file: BinaryIO, position: int) -> dict[int, int] | None:
    """Number and length of what the heap at a position holds; None where it cannot be walked."""
    if position >= file.seek(0, 2):
        return None
    file.seek(position)
    head = file.read(HEAD_BYTES)
    if head[:8] != SIGNATURE:
        return None
    left = int.from_bytes(head[8:], "little") - HEAD_BYTES
    found: dict[int, int] = {}
    while left >= HEAD_BYTES:
        head = file.read(HEAD_BYTES)
        if len(head) < HEAD_BYTES:
            return None
        number, length = int.from_bytes(head[:2], "little"), int.from_bytes(head[8:], "little")
        # What is free counts its own head, what is used does not, and is filled up to eights.
        whole = length if number == 0 else HEAD_BYTES + _eights(length)
        if not HEAD_BYTES <= whole <= left:
            return None
        found[number] = length
        file.seek(whole - HEAD_BYTES, 1)
        left -= whole
    return found


def _eights(n_bytes: int) -> int:
    return -(-n_bytes // 8) * 8
