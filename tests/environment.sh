#!/usr/bin/env bash
# Compares what a program finds around it under `cargo run` and under `devhost run`, field by field: arguments, environment,
# working directory, standard streams, terminal, open descriptors, signals, limits, process attributes, thread names.
#
#     tests/environment.sh [--strategy fork|restart] [--terminal] [--all] [--devhost PATH]
#
# The program is tests/fixtures/environment. Fields that differ are printed as a table; those that must differ, with the
# reason. --all prints the others, too. With --terminal both run on a terminal of their own, devhost with --stdin; else
# both read /dev/null and write to files. Exit code 0: nothing differs that should not; 1: something does, or failed; 2: a
# mistake in the arguments. Needs cargo, and `script` of util-linux for --terminal. Leaves nothing behind.
set -euo pipefail
set -m # A job is a process group, and hears of Ctrl-C.

usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
    exit "$1"
}

here=$(cd "$(dirname "$0")" && pwd)
strategy=fork terminal='' all='' devhost=$here/../target/debug/devhost
while [ $# -gt 0 ]; do
    case $1 in
    --strategy) strategy=${2:?--strategy needs fork or restart} && shift 2 ;;
    --terminal) terminal=yes && shift ;;
    --all) all=yes && shift ;;
    --devhost) devhost=${2:?--devhost needs a path} && shift 2 ;;
    -h | --help) usage 0 ;;
    *) usage 2 ;;
    esac
done
[ -x "$devhost" ] || { echo "there is no $devhost: build it first, or name one with --devhost" >&2; exit 2; }
devhost=$(realpath "$devhost")

# A field, or its prefix with a star | strategies | where | why it must differ.
EXPECTED="
argument.0 | both | both | the app is not a file of cargo's; its name is the binary's
cmdline | both | both | as argument.0
executable | fork | both | the worker is a fork of devhost
executable | restart | both | devhost builds in a target directory of its own
variable.LD_LIBRARY_PATH | both | both | cargo names its own target directory there; devhost finds libraries by their path
variable._ | both | both | the shell's name for what it has started
leads its group | both | both | a worker has a process group of its own: that is how it is ended
terminal number | both | plain | without --stdin the app has no terminal: it would be stopped by it
terminal | both | plain | the same
signal at parent's death | both | both | a worker ends with devhost, however that ends
descriptors.count | both | both | the socket by which a worker speaks to devhost
descriptor.further.1* | both | both | that socket; nothing that the app starts inherits it
thread.name | fork | both | the standard library names the thread of a program that it starts itself
"

scratch=$(mktemp -d)
job='' failed=''
end_job() {
    [ -n "$job" ] || return 0
    kill -TERM -- "-$job" 2>/dev/null || true
    wait "$job" 2>/dev/null || true
    job=''
    # Nothing outlives its terminal.
    for _ in $(seq 200); do
        pgrep -f -- "$scratch" >/dev/null || return 0
        sleep 0.1
    done
    echo "these outlive their terminal:" >&2
    pgrep -af -- "$scratch" >&2
    pkill -KILL -f -- "$scratch" || true
    failed=yes
}
clean_up() {
    end_job
    # devhost needs a moment once its terminal is gone.
    for _ in $(seq 100); do
        rm -rf "$scratch" 2>/dev/null && return
        sleep 0.1
    done
}
trap clean_up EXIT

cp -r "$here/fixtures/environment" "$scratch/app"
cd "$scratch/app"
# Closes inherited descriptors: cargo would pass them on, while devhost closes all but the standard streams.
for fd in /proc/$$/fd/*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || [ "$fd" -eq 255 ] || eval "exec $fd>&-"
done
report=$scratch/report
unset CARGO_TARGET_DIR "${!CARGO_PKG_@}" "${!DEVHOST_@}" 2>/dev/null || true
for variable in CARGO CARGO_MANIFEST_DIR CARGO_MANIFEST_PATH CARGO_BIN_NAME LD_LIBRARY_PATH; do unset "$variable"; done

# Starts the command and waits for the program's report, which becomes $scratch/NAME.
run() {
    local name=$1 log=$scratch/output deadline=$((SECONDS + 600))
    shift
    rm -f "$report" "$log"*
    if [ -n "$terminal" ]; then
        # script's shell stays, and leads the session.
        script -qefc "$*; true" /dev/null </dev/null >"$log" 2>&1 &
    else
        "$@" </dev/null >"$log" 2>"$log.errors" &
    fi
    job=$!
    while [ ! -e "$report" ]; do
        if [ $SECONDS -ge $deadline ] || ! kill -0 "$job" 2>/dev/null; then
            echo "$name has not come to its report:" >&2
            cat "$log"* >&2
            exit 1
        fi
        sleep 0.05
    done
    mv "$report" "$scratch/$name"
    if [ -n "$terminal" ] && [ "$name" = devhost ]; then
        # The app has the terminal once this listens for keys.
        for _ in $(seq 100); do
            pgrep -f '^devhost-terminal ' >/dev/null && break
            sleep 0.1
        done
    fi
    end_job
}

cargo build --quiet
run cargo cargo run --quiet -- "$report" --second
more=''
[ -z "$terminal" ] || more=--stdin
# shellcheck disable=SC2086
run devhost "$devhost" run --port 0 --strategy "$strategy" --target-dir "$scratch/target" $more -- "$report" --second

mode=plain
[ -z "$terminal" ] || mode=terminal
awk -v strategy="$strategy" -v mode="$mode" -v all="$all" -v expected="$EXPECTED" '
    function field(line) { return substr(line, 1, index(line, "=") - 1) }
    function value(line) { return substr(line, index(line, "=") + 1) }
    function short(text) { return length(text) > 60 ? substr(text, 1, 57) "..." : text }
    function reason(name, number, parts, pattern, rule) {
        for (number = 1; number <= rules; number++) {
            split(rule_lines[number], parts, / \| /)
            pattern = parts[1]
            if ((parts[2] == "both" || parts[2] == strategy) && (parts[3] == "both" || parts[3] == mode) &&
                (pattern == name || (sub(/\*$/, "", pattern) && index(name, pattern) == 1))) return parts[4]
        }
        return ""
    }
    BEGIN {
        count = split(expected, lines, "\n")
        for (number = 1; number <= count; number++) if (lines[number] != "") rule_lines[++rules] = lines[number]
        printf "%-32s %-60s %-60s %s\n", "field", "cargo run", "devhost run", ""
    }
    FNR == NR { order[++fields] = field($0); cargo[field($0)] = value($0); next }
    { if (!(field($0) in cargo)) { order[++fields] = field($0); cargo[field($0)] = "(none)" } devhost[field($0)] = value($0) }
    END {
        for (number = 1; number <= fields; number++) {
            name = order[number]
            if (!(name in devhost)) devhost[name] = "(none)"
            if (cargo[name] == devhost[name]) {
                same++
                if (all) printf "%-32s %-60s %-60s %s\n", name, short(cargo[name]), "the same", ""
                continue
            }
            why = reason(name)
            if (why == "") { wrong++; why = "NOT EXPECTED" } else differ++
            printf "%-32s %-60s %-60s %s\n", name, short(cargo[name]), short(devhost[name]), why
        }
        printf "%d fields are the same, %d must differ, %d should not differ and do\n", same, differ, wrong
        exit wrong > 0
    }
' "$scratch/cargo" "$scratch/devhost"
[ -z "$failed" ]
