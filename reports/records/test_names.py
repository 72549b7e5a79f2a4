#!/usr/bin/env python3
"""What became of each test of a run that was cut into many processes, as one JSON object.

usage: test_names.py EXPECTED LOG... < FIELDS.json

EXPECTED has the full name of each test that was to run, one a line; a LOG is what GoogleTest printed under
compute-sanitizer. The object is FIELDS with passed, failed, skipped and not_run, each by name, and findings: what the
sanitizer counted. A test that was begun and did not end has failed. Exits 1 where any failed or was not run.
"""
import json
import re
import sys

KINDS = {"OK": "passed", "FAILED": "failed", "SKIPPED": "skipped"}


def outcomes_of(log):
    """{name: "passed" or "failed" or "skipped"} of the tests that a log shows."""
    found = {}
    for line in log.splitlines():
        begun = re.match(r"\[ RUN      \] (\S+)", line)
        ended = re.match(r"\[\s+(OK|FAILED|SKIPPED)\s+\] (\S+) \(\d+ ms\)", line)
        if begun:
            found[begun.group(1)] = "failed"
        elif ended:
            found[ended.group(2).rstrip(",")] = KINDS[ended.group(1)]
    return found


def findings_of(log):
    """Errors, hazards and warnings that the sanitizer summed up, or None where it came to no end."""
    found = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", log)
    return sum(map(int, found)) if found else None


def summary(expected, logs):
    outcomes = {}
    findings = 0
    for log in logs:
        in_log = outcomes_of(log)
        count = findings_of(log)
        findings += count or 0
        # Its tests may have passed and the memory be wrong all the same; without a summary nobody knows.
        if count != 0:
            in_log = {name: "skipped" if outcome == "skipped" else "failed" for name, outcome in in_log.items()}
        outcomes.update(in_log)
    names = {kind: [n for n in expected if outcomes.get(n) == kind] for kind in ("passed", "failed", "skipped")}
    return {**names, "not_run": [n for n in expected if n not in outcomes], "findings": findings}


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def main():
    result = summary(read(sys.argv[1]).split(), [read(path) for path in sys.argv[2:]])
    print(json.dumps({**json.load(sys.stdin), **result}))
    sys.exit(1 if result["failed"] or result["not_run"] else 0)


if __name__ == "__main__":
    main()
