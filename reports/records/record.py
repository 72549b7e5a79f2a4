#!/usr/bin/env python3
"""Adds what one JSON document measured to a file of records, with where it comes from.

usage: record.py KIND COMMIT GPU_HASH OUT.jsonl [--seed SEED] < DOCUMENT.json

GPU_HASH none: no GPU had a part in it.

KIND says what the document is: fuzz, mutants, tests, bench, sanitizer, mpirun or torchrun, as measure.sh makes them.
A document of several lines of JSON makes several records. SEED is a number, or words where there is no single one;
without it, the document's own. NCCL is asked for its version where the program looks for it: SHARDPROOF_NCCL, else
libnccl.so.2. A record of fuzz counts its cases by dispatcher.
"""
import argparse
import ctypes
import datetime
import json
import os
import platform
import re
import subprocess
import sys


def answer_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def nccl_version():
    """ "2.32.3", or None where there is no NCCL."""
    try:
        library = ctypes.CDLL(os.environ.get("SHARDPROOF_NCCL") or "libnccl.so.2")
        version = ctypes.c_int()
        if library.ncclGetVersion(ctypes.byref(version)) != 0:
            return None
    except (OSError, AttributeError):
        return None
    unit = 1000 if version.value < 10000 else 10000
    return f"{version.value // unit}.{version.value % unit // 100}.{version.value % 100}"


def found_in(pattern, text):
    found = re.search(pattern, text or "")
    return found.group(1) if found else None


def provenance(commit, gpu_hash):
    gpu = answer_of(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    name, driver = (gpu.splitlines()[0].split(", ") if gpu else (None, None))
    return {
        "commit": commit,
        "gpu_hash": None if gpu_hash == "none" else gpu_hash,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": f"{platform.system()} {platform.release()}, {os.cpu_count()} cores",
        "gpu": name,
        "driver": driver,
        # The driver's CUDA, and that of the compiler where there is one.
        "cuda": found_in(r"CUDA Version: *([0-9.]+)", answer_of(["nvidia-smi"])),
        "cuda_toolkit": found_in(r"release ([0-9.]+)", answer_of(["nvcc", "--version"])),
        "nccl": nccl_version(),
    }


def by_dispatcher(document):
    """Of a fuzz answer: {"windows": {"cases": 2057, "with_rows_between_ranks": 1960}, ...}."""
    counts = {}
    for law, cases in document.get("laws", {}).items():
        parts = law.split(".")
        if len(parts) == 3 and parts[0] == "gpu":
            of_dispatcher = counts.setdefault(parts[1], {"cases": 0, "with_rows_between_ranks": 0})
            of_dispatcher["cases"] = max(of_dispatcher["cases"], cases)
    for name, of_dispatcher in counts.items():
        of_dispatcher["with_rows_between_ranks"] = document.get("traits", {}).get(f"rows between ranks by {name}", 0)
    return counts


def documents(text):
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        document, at = decoder.raw_decode(text, at)
        yield document


def record_of(kind, common, seed, document):
    record = {"kind": kind, **common, "seed": document.get("seed") if seed is None else seed}
    if kind == "fuzz":
        record["cases_by_dispatcher"] = by_dispatcher(document)
    return {**record, "result": document}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in ("kind", "commit", "gpu_hash", "out"):
        parser.add_argument(name)
    parser.add_argument("--seed", type=lambda text: int(text) if text.isdigit() else text)
    given = parser.parse_args()
    common = provenance(given.commit, given.gpu_hash)
    with open(given.out, "a", encoding="utf-8") as file:
        for document in documents(sys.stdin.read()):
            record = record_of(given.kind, common, given.seed, document)
            file.write(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
