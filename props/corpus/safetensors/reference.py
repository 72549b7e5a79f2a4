"""What the reference parser says of a file, and a plain loop over it of a checkpoint."""
import json
import pathlib
import re
import subprocess
import sys
import zlib

from safetensors import SafetensorError, deserialize, safe_open


def crc(data):
    return zlib.crc32(data)


def line(name, dtype, shape, data):
    return f"{name}\t{dtype}\t[{','.join(map(str, shape))}]\t{data}\n".encode()


def told(error):
    """Without what differs between the parser's two entrances and, by the order of a hash table, from run to run."""
    text = str(error).removeprefix("Error while deserializing header: ").removeprefix("Error while deserializing: ")
    return re.sub("invalid offset for tensor `.*`", "invalid offset for tensor", text, flags=re.DOTALL)[:200]


def verdict_on_file(path, is_sparse=False):
    """{"rejects": message} or {"digest": crc32 of names, dtypes, shapes, each tensor's data, and the metadata}.

    Both entrances must agree. Of a sparse file only the header is compared.
    """
    path = pathlib.Path(path)
    try:
        with safe_open(path, "numpy") as opened:
            names = sorted(opened.keys(), key=str.encode)
            slices = {name: opened.get_slice(name) for name in names}
            tensors = {name: (s.get_dtype(), list(s.get_shape())) for name, s in slices.items()}
            metadata = opened.metadata() or {}
        by_file = None
    except SafetensorError as error:
        by_file = told(error)
    data = {}
    if not is_sparse:
        try:
            whole = {name: (t["dtype"], list(t["shape"]), bytes(t["data"])) for name, t in deserialize(path.read_bytes())}
            by_bytes = None
        except SafetensorError as error:
            by_bytes = told(error)
        assert by_bytes == by_file, (by_file, by_bytes)
        if by_file is None:
            assert {n: t[:2] for n, t in whole.items()} == tensors
            data = {name: crc(t[2]) for name, t in whole.items()}
    if by_file is not None:
        return {"rejects": by_file}
    text = b"".join(line(name, *tensors[name], data.get(name, 0)) for name in names)
    text += b"".join(f"{key}={metadata[key]}\n".encode() for key in sorted(metadata, key=str.encode))
    return {"digest": crc(text)}


LOOP = """
import json, os, sys, zlib
from safetensors import safe_open
folder = sys.argv[1]
index = os.path.join(folder, "model.safetensors.index.json")
found = {}
if os.path.exists(index):
    with open(index, encoding="utf-8") as opened:
        weight_map = json.load(opened)["weight_map"]
    for name, file in weight_map.items():
        with safe_open(os.path.join(folder, file), "numpy") as tensors:
            tensors.get_slice(name)
            found[name] = file
else:
    file = "model.safetensors"
    with safe_open(os.path.join(folder, file), "numpy") as tensors:
        found = {name: file for name in tensors.keys()}
text = "".join(f"{name}\\t{found[name]}\\n" for name in sorted(found, key=str.encode))
print(zlib.crc32(text.encode()))
"""


def verdict_on_checkpoint(folder, seconds=5):
    """The loop that everybody writes, in a process of its own, for it may hang: index, then each file that it names."""
    try:
        run = subprocess.run([sys.executable, "-c", LOOP, str(folder)], capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"hangs": True}
    if run.returncode == 0:
        return {"digest": int(run.stdout)}
    last = run.stderr.strip().splitlines()[-1]
    return {"rejects": last.replace(str(folder), "FOLDER")[:200]}
