#!/usr/bin/env python3
"""compare.py PROGRAM FOLDER: every file in FOLDER, as `PROGRAM inspect` and as the reference parser take it.

For what a fuzzer collected (build/fuzzers/fuzz_safetensors FOLDER ...). Prints each difference that is none of those which
the README lists, and exits 1 where there is one.
"""
import pathlib
import subprocess
import sys

import reference

STRICTER = ("a key must not come twice", "=a list: a tensor must be a map", ".dtype=a map: must be a dtype")


def main(program, folder):
    counts = {"same": 0, "stricter": 0, "different": 0}
    for path in sorted(pathlib.Path(folder).iterdir()):
        run = subprocess.run([program, "inspect", str(path)], capture_output=True)
        ours = "" if run.returncode == 0 else run.stderr.decode()
        theirs = reference.verdict_on_file(path)
        if (ours == "") == ("digest" in theirs):
            counts["same"] += 1
        elif ours != "" and any(words in ours for words in STRICTER):
            counts["stricter"] += 1
        else:
            counts["different"] += 1
            print(f"{path.name}: ours: {ours.strip() or 'taken'}; the reference: {theirs.get('rejects', 'taken')}")
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 1 if counts["different"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
