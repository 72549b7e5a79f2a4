#!/usr/bin/env python3
"""Adds what one JSON document measured to a file of records, with where it comes from.

usage: record.py KIND COMMIT GPU_HASH OUT.jsonl < DOCUMENT.json

GPU_HASH none: no GPU had a part in it.

KIND says what the document is: fuzz, mutants, tests, bench, sanitizer or mpirun, as measure.sh makes them.
A document of several lines of JSON makes several records.
"""
import datetime
import json
import os
import platform
import subprocess
import sys


def answer_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


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
    }


def documents(text):
    decoder = json.JSONDecoder()
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        document, at = decoder.raw_decode(text, at)
        yield document


def main():
    kind, commit, gpu_hash, out = sys.argv[1:]
    common = {"kind": kind, **provenance(commit, gpu_hash)}
    with open(out, "a", encoding="utf-8") as file:
        for document in documents(sys.stdin.read()):
            file.write(json.dumps({**common, "result": document}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
