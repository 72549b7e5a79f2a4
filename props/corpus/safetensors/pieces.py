"""Files as pieces: bytes or text, a text many times over, a hole of zeros. A corpus of them stays small."""
import struct
import zlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    text: str
    times: int


@dataclass(frozen=True)
class Hole:
    bytes: int


HOLE_IN_MEMORY_MAX = 1 << 24  # a file with a larger hole is written sparsely, and its data are not compared


def as_bytes(piece):
    if isinstance(piece, Times):
        return piece.text.encode() * piece.times
    if isinstance(piece, Hole):
        return bytes(piece.bytes)
    return piece.encode() if isinstance(piece, str) else piece


def size_of(pieces):
    return sum(p.bytes if isinstance(p, Hole) else len(p.text.encode()) * p.times if isinstance(p, Times)
               else len(as_bytes(p)) for p in pieces)


def is_sparse(pieces):
    return any(isinstance(p, Hole) and p.bytes > HOLE_IN_MEMORY_MAX for p in pieces)


def as_json(piece):
    if isinstance(piece, Times):
        return {"text": piece.text, "times": piece.times}
    if isinstance(piece, Hole):
        return {"hole": piece.bytes}
    try:
        return as_bytes(piece).decode()
    except UnicodeDecodeError:
        return {"hex": as_bytes(piece).hex()}


def write(pieces, path):
    with open(path, "wb") as out:
        for piece in pieces:
            if isinstance(piece, Hole):
                out.truncate(out.seek(piece.bytes, 1))
            else:
                out.write(as_bytes(piece))


def crc32(pieces):
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(as_bytes(piece), crc)
    return crc


def le64(number):
    return struct.pack("<Q", number)


def flat(json):
    return list(json) if isinstance(json, (list, tuple)) else [json]


def file(json, data=b"", length=None):
    """A safetensors file: `json` is a piece or a list of them; `length` is its true length unless given."""
    data = data if isinstance(data, Hole) else as_bytes(data)
    pieces = [le64(size_of(flat(json)) if length is None else length), *flat(json)]
    return pieces + ([data] if data else [])


def entry(dtype='"F32"', shape="[]", offsets="[0,4]", more=""):
    return f'{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}'


def tensor(dtype='"F32"', shape="[]", offsets="[0,4]", data=4, more=""):
    """A file with one tensor `a`; the data are that many bytes, no two neighbours the same."""
    return file(f'{{"a":{entry(dtype, shape, offsets, more)}}}', counting(data))


def with_field(text):
    """A right file whose tensor has one field more, which readers ignore: `text` is its value, pieces or one."""
    head, tail = '{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"z":', "}}"
    return file([head, *flat(text), tail], b"\1\2\3\4")


def counting(count):
    return bytes(i % 251 + 1 for i in range(count))


def pair(offsets_a, offsets_b, data, shape_b="[4]"):
    a, b = entry('"U8"', "[4]", offsets_a), entry('"U8"', shape_b, offsets_b)
    return file(f'{{"a":{a},"b":{b}}}', counting(data))
