"""Checkpoints: folders with an index and files, right, odd and wrong.

A folder is a map from a path in it to what is there: pieces of a file, Link, Folder or Fifo. What is put beside the
folder (paths that begin with ../) is there for names and links that lead out of it.
"""
import json
import os
import pathlib
import tempfile
from dataclasses import dataclass

import pieces
import reference
from pieces import entry, file

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@dataclass(frozen=True)
class Link:
    target: str


class Folder:
    pass


class Fifo:
    pass


def holding(*names):
    """A file of one-byte tensors under these names."""
    tensors = ",".join(f"{json.dumps(n)}:{entry(chr(34) + 'U8' + chr(34), '[1]', f'[{i},{i + 1}]')}" for i, n in enumerate(names))
    return file("{" + tensors + "}", "".join(names)[:len(names)] if all(len(n) == 1 for n in names) else b"x" * len(names))


def indexed(weight_map, metadata='{"total_size":3}'):
    weights = weight_map if isinstance(weight_map, str) else json.dumps(weight_map)
    return [f'{{"metadata":{metadata},"weight_map":{weights}}}']


RIGHT = {"a": ONE, "b": ONE, "c": TWO}
FILES = {ONE: holding("a", "b"), TWO: holding("c")}


def right(**changes):
    """The right checkpoint of two files; `index` in other words, and paths replaced or (None) taken out."""
    made = {INDEX: changes.get("index", indexed(RIGHT)), **FILES, **changes.get("files", {})}
    return {path: what for path, what in made.items() if what is not None}


def whole():
    yield "one file", {SINGLE: holding("a", "b")}, None
    yield "one file without tensors", {SINGLE: file("{}")}, None
    yield "one file, and others that are left alone", {SINGLE: holding("a"), "other.safetensors": holding("z"), "x.bin": ["x"]}, None
    yield "one file that is malformed", {SINGLE: file("{}", "x")}, "must end where the last tensor ends"
    yield "one file that is empty", {SINGLE: []}, "size=0"
    yield "one file that is a link", {SINGLE: Link("../blob"), "../blob": holding("a")}, None
    yield "one file that is a link to nothing", {SINGLE: Link("nowhere")}, "file missing"
    yield "one file that is a link to itself", {SINGLE: Link(SINGLE)}, "must be a readable file"
    yield "one file that is a folder", {SINGLE: Folder()}, "must be a regular file, it is a directory"
    yield "one file that is a FIFO", {SINGLE: Fifo()}, "must be a regular file, it is a FIFO"
    yield "an empty folder", {}, "must hold model.safetensors or"
    yield "other files only", {"pytorch_model.bin": ["x"], "config.json": ["{}"]}, "must hold model.safetensors or"
    yield "files without an index", {ONE: holding("a"), TWO: holding("b")}, "files without an index"
    yield "a file of another name", {"weights.safetensors": holding("a")}, "files without an index"


def sharded():
    yield "two files", right(), None
    yield "files in another order", right(index=indexed({"c": TWO, "b": ONE, "a": ONE})), None
    yield "files of other names", {INDEX: indexed({"a": "x", "c": "consolidated.00.pth"}), "x": holding("a"), "consolidated.00.pth": holding("c")}, None
    yield "files in folders below", {INDEX: indexed({"a": "x/y/one", "c": "x/two"}), "x/y/one": holding("a"), "x/two": holding("c")}, None
    yield "files that are links", {INDEX: indexed(RIGHT), ONE: Link("../blob1"), TWO: Link("../blob2"), "../blob1": holding("a", "b"), "../blob2": holding("c")}, None
    yield "an index that is a link", {INDEX: Link("../blob"), "../blob": indexed(RIGHT), **FILES}, None
    yield "a folder that is a link", {INDEX: indexed({"a": "x/one"}), "x": Link("../real"), "../real/one": holding("a")}, None
    yield "a file that the index does not name", right(files={"stray.safetensors": ["no such file"]}), None
    yield "a single file beside the index", right(files={SINGLE: holding("z")}), None
    yield "a FIFO beside", right(files={"stray.safetensors": Fifo()}), None
    yield "one listed file missing", right(files={TWO: None}), "file missing"
    yield "all listed files missing", right(files={ONE: None, TWO: None}), "file missing"
    yield "a listed file that is malformed", right(files={TWO: file("{}", "x")}), "must end where the last tensor ends"
    yield "a listed file that is empty", right(files={TWO: []}), "size=0"
    yield "a listed file that is cut", right(files={ONE: holding("a", "b")[:-1]}), "must end within the file"
    yield "a listed file that is text", right(files={TWO: ["version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"]}), "must be at most"
    yield "a listed file that is a folder", right(files={TWO: Folder()}), "must be a regular file, it is a directory"
    yield "a listed file that is a FIFO", right(files={TWO: Fifo()}), "must be a regular file, it is a FIFO"
    yield "a listed file that is a link to nothing", right(files={TWO: Link("nowhere")}), "file missing"
    yield "a listed file that is a link to a device", right(files={TWO: Link("/dev/zero")}), "must be a regular file, it is a device"
    yield "a listed file below a file", {INDEX: indexed({"a": "x/one"}), "x": holding("a")}, "file missing"


def disagreeing():
    yield "tensor in no file", right(index=indexed({**RIGHT, "d": TWO})), "the tensor is in no listed file"
    yield "tensor in the other file", right(index=indexed({**RIGHT, "a": TWO})), "the tensor is in " + ONE
    yield "tensor that the index does not name", right(index=indexed({"a": ONE, "c": TWO})), "the index does not name it"
    yield "tensor in two files", right(files={TWO: holding("a", "c")}), "a tensor must not be in two files"
    yield "tensor in two files, one of them unlisted", right(files={"stray.safetensors": holding("a")}), None
    yield "all files swapped", right(index=indexed({"a": TWO, "b": TWO, "c": ONE})), "index and files disagree"
    yield "one file under two names", {INDEX: indexed({"a": "one", "b": "link"}), "one": holding("a", "b"), "link": Link("one")}, "a tensor must not be in two files"
    yield "names that differ in composition", {INDEX: indexed({"\u00e9": "one"}), "one": holding("e\u0301")}, "in no listed file"
    for name, metadata in (("wrong", '{"total_size":99}'), ("a string", '{"total_size":"3"}'), ("negative", '{"total_size":-3}'), ("of many digits", '{"total_size":' + "9" * 40 + "}"),
                           ("absent", "{}"), ("within null", "null"), ("within a list", "[]"), ("a map", '{"total_size":{"total_size":3}}')):
        yield f"total_size {name}", right(index=indexed(RIGHT, metadata)), None


def names():
    outside = {"../model.safetensors": holding("a")}
    for name in ("../model.safetensors", "x/../../model.safetensors", "x/../one", "./one", "x//one", "..", ".", "", "one/", "one\0", "one\0.safetensors"):
        yield f"name {name!r}", {INDEX: indexed({"a": name}), "one": holding("a"), "x/one": holding("a"), **outside}, "must be a relative file name"
    yield "name absolute", {INDEX: indexed({"a": "/dev/null"})}, "must be a relative file name"
    yield "name with a backslash", {INDEX: indexed({"a": "..\\one"}), "..\\one": holding("a")}, None
    yield "name of dots", {INDEX: indexed({"a": "...", "b": "..x"}), "...": holding("a"), "..x": holding("b")}, None
    yield "name not ASCII", {INDEX: indexed({"a": "modèle.safetensors"}), "modèle.safetensors": holding("a")}, None
    yield "name with a line feed", {INDEX: indexed({"a": "a\nb"}), "a\nb": holding("a")}, None
    yield "name of 300 bytes", {INDEX: indexed({"a": "n" * 300})}, "must be a readable file"
    yield "name of the index", {INDEX: indexed({"a": INDEX})}, "must be at most"


def index_forms():
    for name, text in (("a list", "[]"), ("a number", "3"), ("a string", '"x"'), ("null", "null")):
        yield name, right(index=[text]), "an index must be a map"
    yield "empty", right(index=[]), "must be JSON"
    yield "cut", right(index=[indexed(RIGHT)[0][:-1]]), "must be JSON"
    yield "a map without weight_map", right(index=['{"metadata":{"total_size":3}}']), "weight_map: field missing"
    yield "a weight_map one level down", right(index=['{"metadata":{"weight_map":{"a":"x"}}}']), "weight_map: field missing"
    for name, text in (("a list", "[]"), ("null", "null"), ("a string", '"x"'), ("a list of pairs", f'[["a","{ONE}"]]')):
        yield f"weight_map is {name}", right(index=indexed(text)), "must be a map from tensor name to file name"
    yield "weight_map is empty", right(index=indexed({})), "must name at least one tensor"
    for name, text in (("a number", "3"), ("null", "null"), ("a list", f'["{ONE}"]'), ("a map", "{}")):
        yield f"file is {name}", right(index=indexed(f'{{"a":{text}}}')), "must be a file name"
    one = json.dumps(RIGHT)
    yield "weight_map twice", right(index=[f'{{"weight_map":{{}},"weight_map":{one}}}']), "a key must not come twice"
    yield "tensor twice, the same file", right(index=indexed(one[:-1] + f',"a":"{ONE}"}}')), "a key must not come twice"
    yield "tensor twice, two files", right(index=indexed(f'{{"a":"{TWO}",' + one[1:])), "a key must not come twice"
    yield "tensor twice, escaped once", right(index=indexed(one[:-1] + f',"\\u0061":"{ONE}"}}')), "a key must not come twice"
    yield "metadata twice", right(index=[f'{{"metadata":{{}},"metadata":{{"total_size":3}},"weight_map":{one}}}']), "a key must not come twice"
    yield "no metadata", right(index=[f'{{"weight_map":{one}}}']), None
    yield "other fields", right(index=[f'{{"x":[1,{{"weight_map":3}}],"weight_map":{one},"y":null}}']), None
    yield "weight_map first", right(index=[f'{{"weight_map":{one},"metadata":{{"total_size":3}}}}']), None
    yield "indented", right(index=[json.dumps({"metadata": {"total_size": 3}, "weight_map": RIGHT}, indent=2) + "\n"]), None
    yield "escaped", right(index=[f'{{"\\u0077eight_map":{{"\\u0061":"{ONE}","b":"{ONE[:-1]}\\u0073","c":"{TWO}"}}}}']), None
    yield "byte order mark", right(index=[b"\xef\xbb\xbf", *indexed(RIGHT)]), "without a byte order mark"
    yield "Latin-1", right(index=[b'{"metadata":{"by":"caf\xe9"},"weight_map":', one, "}"]), "must be JSON"
    yield "UTF-16", right(index=[indexed(RIGHT)[0].encode("utf-16")]), "must be JSON"
    yield "NUL after", right(index=[*indexed(RIGHT), "\0"]), "must be JSON"
    yield "NaN", right(index=indexed(RIGHT, '{"total_size":NaN}')), "must be JSON"
    yield "a number beyond double range", right(index=indexed(RIGHT, '{"total_size":1e999}')), "range of a double"
    yield "a surrogate alone", right(index=indexed(RIGHT, r'{"by":"\ud800"}')), "must be JSON"
    yield "a comma too many", right(index=[indexed(RIGHT)[0][:-1] + ",}"]), "must be JSON"
    yield "two documents", right(index=indexed(RIGHT) * 2), "must be JSON"
    yield "200 levels", right(index=indexed(RIGHT, "[" * 200 + "]" * 200)), "must not nest deeper"
    yield "a folder", {INDEX: Folder(), SINGLE: holding("a")}, "must be a regular file, it is a directory"
    yield "a FIFO", {INDEX: Fifo(), SINGLE: holding("a")}, "must be a regular file, it is a FIFO"
    yield "a link to nothing, beside a single file", {INDEX: Link("nowhere"), SINGLE: holding("a")}, "file missing"


GROUPS = {"whole": whole, "sharded": sharded, "disagreeing": disagreeing, "name": names, "index": index_forms}


def make(contents, folder):
    for path, what in contents.items():
        place = folder / path
        os.makedirs(place.parent, exist_ok=True)
        if isinstance(what, Link):
            place.symlink_to(what.target)
        elif isinstance(what, Folder):
            place.mkdir()
        elif isinstance(what, Fifo):
            os.mkfifo(place)
        else:
            pieces.write(what, place)


def as_json(what):
    if isinstance(what, Link):
        return {"link": what.target}
    if isinstance(what, (Folder, Fifo)):
        return {"is": "folder" if isinstance(what, Folder) else "FIFO"}
    return {"pieces": [pieces.as_json(p) for p in what if p], "crc32": pieces.crc32(what)}


def rows():
    for group, make_group in GROUPS.items():
        for name, contents, says in make_group():
            with tempfile.TemporaryDirectory() as outer:
                folder = pathlib.Path(outer) / "model"
                folder.mkdir()
                make(contents, folder)
                verdict = reference.verdict_on_checkpoint(folder)
            row = {"name": f"{group}/{name}", "contents": {path: as_json(what) for path, what in contents.items()}, "reference": verdict}
            if says is not None:
                row["says"] = says
            yield row
