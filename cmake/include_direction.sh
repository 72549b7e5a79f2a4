#!/usr/bin/env bash
# include_direction.sh ROOT BUILD [DEPS]: every folder includes only what the design lets it. Reads the compiler's own
# record (`ninja -t deps` in BUILD, or a file DEPS of that form) and the text of the sources. Exit 1 names each offence,
# 77 means there was nothing to read.
set -euo pipefail
root=$1 build=$2 deps=${3:-}

# FOLDER FORBIDDEN EXCEPT: a file under FOLDER includes nothing under FORBIDDEN but what lies under EXCEPT. FORBIDDEN is
# matched at the start of a path from the root, or, beginning with "/", anywhere in the path.
rules='
oracle/model oracle/ oracle/model/
oracle/model /eigen3/ -
oracle sim/ -
oracle gpu/ -
oracle props/ -
oracle bench/ -
oracle reports/ -
sim oracle/ oracle/model/
sim /eigen3/ -
sim gpu/ -
sim props/ -
sim bench/ -
sim reports/ -
sim/plan sim/ sim/plan/
sim/verify sim/layers/ -
gpu oracle/ oracle/model/
gpu sim/ sim/plan/
gpu props/ -
gpu bench/ -
gpu reports/ -
props bench/ -
props reports/ -
'

# Both readers print "FILE INCLUDED" pairs; this judges them. Paths are made relative to the root; a header's own unit
# under BUILD/headers counts as the header.
judge() {
    RULES=$rules awk -F '\t' -v root="$root/" -v units="$build/headers/" '
        function tidy(path,   parts, n, i, depth, kept, out) {
            if (index(path, units) == 1) { path = substr(path, length(units) + 1); sub(/\.cpp$/, "", path) }
            n = split(path, parts, "/")
            depth = 0
            for (i = 1; i <= n; i++) {
                if (parts[i] == "." || (parts[i] == "" && i > 1)) continue
                if (parts[i] == ".." && depth > 0 && kept[depth] != "..") depth--
                else kept[++depth] = parts[i]
            }
            out = kept[1]
            for (i = 2; i <= depth; i++) out = out "/" kept[i]
            if (index(out, root) == 1) out = substr(out, length(root) + 1)
            return out
        }
        function under(path, folder) { return substr(folder, 1, 1) == "/" ? index(path, folder) : index(path, folder) == 1 }
        BEGIN {
            count = split(ENVIRON["RULES"], lines, "\n")
            for (i = 1; i <= count; i++)
                if (split(lines[i], f, " ") == 3) { n++; folder[n] = f[1] "/"; forbidden[n] = f[2]; except[n] = f[3] }
        }
        {
            if (!($1 in tidied)) tidied[$1] = tidy($1)
            if (!($2 in tidied)) tidied[$2] = tidy($2)
            from = tidied[$1]; to = tidied[$2]
            for (i = 1; i <= n; i++)
                if (under(from, folder[i]) && under(to, forbidden[i]) && !(except[i] != "-" && under(to, except[i])))
                    if (!seen[from, to]++) { print from " includes " to; bad = 1 }
        }
        END { exit bad }'
}

# "OBJECT: #deps N, deps mtime T (VALID)", then one indented path a line, the source first.
from_compiler() {
    awk -v build="$build/" '
        /^[^ ]/ { valid = /\(VALID\)$/; source = ""; next }
        valid && NF {
            sub(/^ +/, "")
            path = substr($0, 1, 1) == "/" ? $0 : build $0
            if (source == "") source = path
            else print source "\t" path
        }'
}

from_text() {
    local folder
    for folder in oracle sim gpu props bench reports; do
        [[ -d $root/$folder ]] || continue
        find "$root/$folder" -name '*.[chi]pp' -o -name '*.cu' -o -name '*.cuh'
    done | while IFS= read -r file; do
        sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]([^">]+)[">].*/\1/p' "$file" |
            while IFS= read -r included; do printf '%s\t%s\n' "$file" "$included"; done
    done
}

if [[ -z $deps ]]; then
    if [[ ! -e $build/.ninja_deps ]]; then
        echo "no record of dependencies in the build folder (another generator than Ninja)"
        exit 77
    fi
    deps=$(mktemp)
    trap 'rm -f -- "$deps"' EXIT
    ninja -C "$build" -t deps > "$deps"
fi

pairs=$(from_compiler < "$deps")
units=$(printf '%s\n' "$pairs" | cut -f 1 | sort -u | grep -c . || true)
if ((units == 0)); then
    echo "the compiler's record names no translation unit: build first"
    exit 1
fi
failed=0
printf '%s\n' "$pairs" | judge || failed=1
from_text | judge || failed=1
((failed)) || echo "$units translation units, each within its rules"
exit "$failed"
