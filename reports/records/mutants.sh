#!/usr/bin/env bash
# mutants.sh PROGRAM COMMIT [SEED]: hunts every mutant with PROGRAM on virtual ranks and writes the record of it,
# mutants.jsonl: which law killed each, after how many cases and seconds, and the smallest case that shows it; and that
# the same cases without a mutant, all laws on each, break none. Ends with the program's exit where that fails.
set -euo pipefail
program=$1 commit=$2 seed=${3:-0}
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
answer=$(mktemp)
trap 'rm -f -- "$answer" "$answer.jsonl"' EXIT
"$program" fuzz --mutants --seed "$seed" --json "$answer"
python3 "$here/record.py" mutants "$commit" none "$answer.jsonl" < "$answer"
mv -- "$answer.jsonl" "$here/mutants.jsonl"
