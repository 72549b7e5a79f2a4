#!/usr/bin/env bash
# fresh_machine.sh [FOLDER [COMMAND...]]: what a fresh Debian 12 machine sees. Makes a bare root of Debian 12 in FOLDER
# (default: one below the temporary folder, removed at the end), clones what is committed here into it and runs COMMAND
# there, as the launcher is run: `demo` and then `test` unless others are named. A root that FOLDER already holds is put
# back to what it was, so a second run is as fresh as the first and downloads nothing but packages.
# FOLDER is new, empty, or one that this script has made: it removes things there. Others are refused, exit 2.
# Exit 77 where it cannot run: no root, neither mmdebstrap nor debootstrap, mounts not allowed, no mirror.
# DEBIAN_MIRROR=URL names another mirror.
set -euo pipefail
readonly skipped=77
source=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
say() { printf 'fresh_machine: %s\n' "$*" >&2; }
skip() {
    say "$@"
    exit "$skipped"
}

# What it has made, it has marked.
readonly marker=.made_by_fresh_machine
is_ours_or_empty() { [[ -d $1 && (-e $1/$marker || -z $(ls -A -- "$1/")) ]]; }
if (($# > 0)) && [[ -e $1 || -L $1 ]] && ! is_ours_or_empty "$1"; then
    say "$1: must be a new or empty folder, or one that this script has made"
    exit 2
fi

[[ $EUID == 0 ]] || skip "needs root, to make a root folder and to chroot into it"
# Mounts are made in a namespace that ends before anything is removed: a removal never sees one.
unshare --mount -- "$BASH" -c : 2> /dev/null || skip "mounts are not allowed here (unshare --mount fails)"

keep=1
if (($# == 0)); then
    keep=0
    set -- "$(mktemp -d)"
fi
mkdir -p -- "$1"
folder=$(cd -- "$1" && pwd -P)
touch -- "$folder/$marker"
shift
(($#)) || set -- demo test
base=$folder/base machine=$folder/machine
# Removes a folder of ours, and never what is mounted in it: a bound folder's files are the host's own.
remove() {
    if awk -v at="$1" '$5 == at || index($5, at "/") == 1 { found = 1 } END { exit !found }' /proc/self/mountinfo; then
        say "something is mounted in $1: it is left as it is"
        return 1
    fi
    rm -rf --one-file-system -- "$1"
}
cleanup() { if ((keep)); then remove "$machine"; else remove "$folder"; fi; }
trap cleanup EXIT

mirror=() # the tool's own
if [[ -n ${DEBIAN_MIRROR:-} ]]; then mirror=("$DEBIAN_MIRROR"); fi
if [[ ! -e $base.complete ]]; then
    remove "$base"
    if command -v mmdebstrap > /dev/null; then
        make=(mmdebstrap --variant=minbase --include=ca-certificates,git bookworm "$base" "${mirror[@]}")
    elif command -v debootstrap > /dev/null; then
        make=(debootstrap --variant=minbase --include=ca-certificates,git bookworm "$base" "${mirror[@]}")
    else
        skip "neither mmdebstrap nor debootstrap is here: apt-get install mmdebstrap"
    fi
    say "making a bare Debian 12 with ${make[0]}"
    unshare --mount -- "${make[@]}" > "$folder/base.log" 2>&1 || {
        tail -n 5 "$folder/base.log" >&2
        skip "making the root failed (all of it in base.log)"
    }
    touch -- "$base.complete"
fi

remove "$machine"
cp -a -- "$base" "$machine"
if [[ -e /etc/resolv.conf ]]; then cp -L -- /etc/resolv.conf "$machine/etc/resolv.conf"; fi
git -c safe.directory='*' clone --quiet --no-hardlinks -- "$source" "$machine/opt/shardproof"
commit=$(git -c safe.directory='*' -C "$machine/opt/shardproof" rev-parse --short HEAD)
environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    if [[ -n ${!name:-} ]]; then environment+=("$name=${!name}"); fi
done

# in_machine COMMAND: with proc and a /dev of its own, six nodes on a tmpfs: nothing of the host's is bound.
in_machine() {
    unshare --mount -- "$BASH" -c '
        set -eu
        machine=$1
        shift
        mount --make-rprivate /
        mount -t proc -o ro proc "$machine/proc"
        mount -t tmpfs -o mode=755 tmpfs "$machine/dev"
        for node in null:3 zero:5 full:7 random:8 urandom:9; do
            mknod -m 666 "$machine/dev/${node%:*}" c 1 "${node#*:}"
        done
        mknod -m 666 "$machine/dev/tty" c 5 0
        ln -s /proc/self/fd "$machine/dev/fd"
        mkdir -m 1777 "$machine/dev/shm"
        exec chroot "$machine" "$@"' in_machine "$machine" "$@"
}

for command in "$@"; do
    say "./shardproof $command, at $commit"
    begun=$SECONDS
    in_machine /usr/bin/env -i "${environment[@]}" /bin/bash -c 'cd /opt/shardproof && exec ./shardproof $0' \
        "$command" < /dev/null || {
        status=$?
        say "./shardproof $command: exit $status after $((SECONDS - begun)) s"
        exit 1
    }
    say "./shardproof $command: ok in $((SECONDS - begun)) s"
done
