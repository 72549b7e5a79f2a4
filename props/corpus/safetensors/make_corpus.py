#!/usr/bin/env python3
"""Makes files.jsonl and checkpoints.jsonl: right, odd and malformed files, with what the reference parser says of each.

    pip install safetensors==0.8.0
    python3 make_corpus.py

A row has a name, pieces, the parser's verdict, and in `says` a part of our refusal where we refuse. Rows are added, never
taken out. What it prints as stricter must stand in corpus_test and in the README; nothing may be printed as more lenient.
"""
import json
import pathlib
import tempfile

import safetensors

import checkpoint_folders
import pieces
import reference
import tensor_files
import text_files

PINNED = "0.8.0"
HERE = pathlib.Path(__file__).parent


def file_rows():
    for group, make in {**text_files.GROUPS, **tensor_files.GROUPS}.items():
        for name, made, says in make():
            made = [p for p in made if not isinstance(p, (str, bytes)) or p]
            row = {"name": f"{group}/{name}", "pieces": [pieces.as_json(p) for p in made], "bytes": pieces.size_of(made)}
            if not pieces.is_sparse(made):
                row["crc32"] = pieces.crc32(made)
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "file"
                pieces.write(made, path)
                row["reference"] = reference.verdict_on_file(path, pieces.is_sparse(made))
            if says is not None:
                row["says"] = says
            yield row


def write(rows, path):
    rows = list(rows)
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")).replace("\x7f", "\\u007f") + "\n" for row in rows)
    path.write_bytes(text.encode())
    taken = sum("digest" in row["reference"] for row in rows)
    print(f"{path.name}: {len(rows)} rows, {taken} taken by the reference, {len(text.encode())} bytes")
    for row in rows:
        if ("digest" in row["reference"]) != ("says" not in row):
            print("  stricter" if "says" in row else "  more lenient", row["name"], row["reference"])


if __name__ == "__main__":
    assert safetensors.__version__ == PINNED, f"safetensors {PINNED} is needed, this is {safetensors.__version__}"
    write(file_rows(), HERE / "files.jsonl")
    write(checkpoint_folders.rows(), HERE / "checkpoints.jsonl")
