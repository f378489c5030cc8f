#!/usr/bin/env bash
# How fast requests pass, side by side in one run: the example app's own binary reached directly; the same binary behind
# devhost's front, on its private port and on a Unix socket (to which devhost relays from a private port, so that is a way
# that costs one more hop); the app behind the front over shared memory; and the front answering by itself.
# Latencies in microseconds, at the median and the 99th percentile, and requests a second.
#
#     tests/speed.sh [SECONDS]      each cell takes so long (default 3)
#
# Needs wrk (Debian: apt-get install wrk). Everything is built with optimizations, under target/speed.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-3}
command -v wrk >/dev/null || { echo "wrk is missing (Debian: apt-get install wrk)" >&2; exit 2; }

work=target/speed
mkdir -p "$work"
work=$(cd "$work" && pwd)
pids=()
sockets=
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$sockets"
}
trap finish EXIT

cargo build --release --workspace --bins

# The app reads static files beside its sources, so the large one goes into a copy.
rm -rf "$work/app/example_app" "$work/app/plugin_abi"
mkdir -p "$work/app"
cp -r example_app plugin_abi Cargo.lock "$work/app/"
sed -e '/^\[package\]/,$d' -e 's|"crates/\*", ||' -e 's/^exclude.*/exclude = ["target"]/' Cargo.toml > "$work/app/Cargo.toml"
head -c 65536 /dev/zero | tr '\0' x > "$work/app/example_app/static/64k.txt"
(cd "$work/app" && env -u CARGO_TARGET_DIR cargo build --release -p example_app)

# Starts a command in the app's workspace and stores the address after a text in its output in a variable. (A subshell
# that printed it would leave the process without an owner to end it.)
start() {
    local variable=$1 log=$2 mark=$3 url
    shift 3
    (cd "$work/app" && exec "$@") > "$log" 2>&1 &
    pids+=($!)
    for _ in $(seq 9000); do
        url=$(sed -n "s|.*$mark.*\(http://[0-9.:]*\).*|\1|p" "$log" | head -n 1)
        if [ -n "$url" ]; then printf -v "$variable" '%s' "$url"; return; fi
        kill -0 "${pids[-1]}" || { cat "$log" >&2; exit 1; }
        sleep 0.1
    done
    echo "no address in $log" >&2
    exit 1
}

# Waits until an app behind a front answers, which may take a build.
wait_for() { curl -sS --retry 900 --retry-delay 1 --retry-all-errors -f -o /dev/null "$1/api/version"; }

devhost=$PWD/target/release/devhost
PORT=0 start direct "$work/direct.log" "open at" "$work/app/target/release/example_app"
run=("$devhost" run example_app --release --port 0 --no-inject)
start link "$work/link.log" "Local:" "${run[@]}" --lib
wait_for "$link"
start socket "$work/socket.log" "Local:" "${run[@]}" --bin example_app
wait_for "$socket"
# A Unix socket's path has at most 107 bytes.
sockets=$(mktemp -d)
LISTEN=unix:$sockets/app start unix "$work/unix.log" "Local:" "${run[@]}" --bin example_app
wait_for "$unix"

# Converts a line of wrk's to microseconds.
micros() {
    awk -v line="$1" '$1 == line {
        value = $2
        if (value ~ /us$/) scale = 1; else if (value ~ /ms$/) scale = 1000; else scale = 1000000
        sub(/[a-z]+$/, "", value)
        printf "%.0f", value * scale
    }'
}

cell() {
    local name=$1 url=$2 connections=$3 out
    out=$(wrk --latency -t 1 -c "$connections" -d "${seconds}s" "$url")
    printf '%-34s %4s %10s %10s %12s\n' "$name" "$connections" "$(micros 50% <<< "$out")" \
        "$(micros 99% <<< "$out")" "$(awk '$1 == "Requests/sec:" { print $2 }' <<< "$out")"
    if grep -q 'Non-2xx' <<< "$out"; then grep 'Non-2xx' <<< "$out"; fi
}

printf '%-34s %4s %10s %10s %12s\n' "way" "conn" "p50 µs" "p99 µs" "requests/s"
for path in /api/version /static/64k.txt; do
    echo "-- $path ($(curl -sS -o /dev/null -w '%{size_download}' "$direct$path") bytes)"
    for connections in 1 16 128; do
        cell "the app, direct" "$direct$path" "$connections"
        cell "front and Unix socket" "$unix$path" "$connections"
        cell "front and private port" "$socket$path" "$connections"
        cell "front and shared memory" "$link$path" "$connections"
        cell "front alone (its own status)" "$link/__devhost/status" "$connections"
    done
done
