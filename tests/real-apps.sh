#!/usr/bin/env bash
# Runs devhost on published web apps that know nothing of it, and prints how long a save takes to show.
#
#     tests/real-apps.sh [--reloads N] [--restarts N] [--cold] [--devhost PATH] [APP...]
#
# For each app the published package is unpacked into a temporary directory, unchanged. Then, in one run:
#   1. `cargo run` in a fresh target directory, up to the first page;
#   2. N restarts as cargo-watch makes them: edit, end the app, `cargo run` (default 3);
#   3. `devhost run` on the app that is now built, up to the first page;
#   4. N edits under devhost, each from the save to the page that shows it (default 20);
#   5. `devhost run` in a fresh target directory, up to the first page (with --cold).
# An edit changes one string literal in the source. Nothing is left behind; logs of a failed app are kept and
# named. Needs curl, tar and the registry (or a cargo cache that has the packages).
set -euo pipefail

usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
    exit "$1"
}

# name | version | framework | path of the page | file to edit | text | what replaces it, @ being the edit's number
# | arguments, with PORT and DIR for a free port and the directory that the app serves
APPS='
basic-http-server | 0.11.0 | axum | / | src/ext/dir_list.rs | "<div>" | "<div id=edit-@>" | -x -p PORT DIR
dufs | 0.47.0 | hyper | /?noscript | src/noscript.rs | "Index of {}" | "Index of edit-@ {}" | -b 127.0.0.1 -p PORT DIR
mdbook | 0.4.40 | warp | /one.html | src/renderer/html_handlebars/hbs_renderer.rs | " - " + book_title | " - edit-@ " + book_title | serve -n 127.0.0.1 -p PORT DIR
miniserve | 0.35.0 | actix-web | / | src/renderer.rs | ("name", "Name", sort | ("name", "edit-@", sort | -i 127.0.0.1 -p PORT DIR
simple-http-server | 0.8.1 | axum, openssl | / | src/util.rs | [Root] | [edit-@] | --ip 127.0.0.1 -p PORT DIR
'

RELOADS=20
RESTARTS=3
COLD=
DEVHOST=
ONLY=()
while (($#)); do
    case $1 in
        --reloads) RELOADS=$2; shift 2 ;;
        --restarts) RESTARTS=$2; shift 2 ;;
        --devhost) DEVHOST=$(realpath "$2"); shift 2 ;;
        --cold) COLD=yes; shift ;;
        -h | --help) usage 0 ;;
        -*) usage 2 >&2 ;;
        *) ONLY+=("$1"); shift ;;
    esac
done
REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
if [[ -z $DEVHOST ]]; then
    (cd "$REPOSITORY" && cargo build --quiet --bin devhost)
    DEVHOST=${CARGO_TARGET_DIR:-$REPOSITORY/target}/debug/devhost
fi
unset CARGO_TARGET_DIR

# How long a first build, and what follows an edit, may take.
BUILD_TIME_MAX_S=1200
EDIT_TIME_MAX_S=120

WORK=$(mktemp -d)
SERVER=
FAILED=0

now_ms() { echo $(($(date +%s%N) / 1000000)); }

stop_server() {
    [[ -n $SERVER ]] || return 0
    # `cargo run` does not hand a signal on to what it runs, so all of its session gets it.
    kill -INT -- "-$SERVER" 2>/dev/null || true
    for _ in $(seq 200); do
        kill -0 -- "-$SERVER" 2>/dev/null || break
        sleep 0.05
    done
    kill -KILL -- "-$SERVER" 2>/dev/null || true
    wait "$SERVER" 2>/dev/null || true
    SERVER=
}

clean_up() {
    stop_server
    rm -rf "$WORK"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# start LOG COMMAND...: in the app's directory, as a process group of its own.
start() {
    local log=$1
    shift
    (cd "$APP" && exec setsid "$@") >"$log" 2>&1 </dev/null &
    SERVER=$!
}

# wait_page SECONDS TEXT: until the page has the text; tells how many milliseconds have passed since $BEGUN.
wait_page() {
    local limit=$((BEGUN + $1 * 1000))
    while :; do
        if curl -s --max-time 30 "http://127.0.0.1:$PORT$PAGE" 2>/dev/null | grep -F -- "$2" >/dev/null; then
            echo $(($(now_ms) - BEGUN))
            return
        fi
        if (($(now_ms) > limit)) || ! kill -0 "$SERVER" 2>/dev/null; then
            return 1
        fi
        sleep 0.01
    done
}

# edit NUMBER: writes the file with that number in it, by renaming a new file over it; sets BEGUN.
edit() {
    local text
    text=$(cat "$WORK/original" && printf x)
    text=${text%x}
    printf %s "${text/"$FROM"/"${TO//@/$1}"}" >"$APP/$FILE.tmp~"
    mv "$APP/$FILE.tmp~" "$APP/$FILE"
    BEGUN=$(now_ms)
}

median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)]; else print "-" }'; }

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# The package as cargo downloads it.
unpack() {
    local scratch=$WORK/fetch home=${CARGO_HOME:-$HOME/.cargo} crate=
    rm -rf "$scratch" "$WORK/app"
    mkdir -p "$scratch/src" "$WORK/app"
    echo 'fn main() {}' >"$scratch/src/main.rs"
    printf '[package]\nname = "fetch"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n' \
        "$NAME" "$VERSION" >"$scratch/Cargo.toml"
    (cd "$scratch" && cargo fetch --quiet)
    crate=$(find "$home/registry/cache" -name "$NAME-$VERSION.crate" | head -n 1)
    tar -xzf "$crate" -C "$WORK/app"
    APP=$WORK/app/$NAME-$VERSION
    cp "$APP/$FILE" "$WORK/original"
    grep -qF -- "$FROM" "$WORK/original"
    SERVED=$WORK/served
    rm -rf "$SERVED"
    mkdir -p "$SERVED/src"
    printf '[book]\ntitle = "Trial"\n' >"$SERVED/book.toml"
    printf '# Summary\n\n- [One](one.md)\n' >"$SERVED/src/SUMMARY.md"
    echo '# Chapter' >"$SERVED/src/one.md"
}

give_up() {
    local kept
    kept=$(mktemp --suffix=".$NAME.log")
    cp "$LOG" "$kept"
    echo "$NAME: $1; its output is in $kept" >&2
    FAILED=1
    stop_server
    return 1
}

measure() {
    local arguments count number time
    unpack || { echo "$NAME: the package is not as expected" >&2; FAILED=1; return 1; }
    PORT=$(free_port)
    arguments=${ARGS/PORT/$PORT}
    arguments=${arguments/DIR/$SERVED}
    read -ra arguments <<<"$arguments"
    LOG=$WORK/log

    # 1 and 2: cargo alone. The first edit is there from the start, so that its text tells the page.
    edit 0
    start "$LOG" cargo run --quiet -- "${arguments[@]}"
    CARGO_COLD=$(wait_page "$BUILD_TIME_MAX_S" edit-0) || { give_up "cargo run shows no page"; return 1; }
    : >"$WORK/restarts"
    for ((number = 1; number <= RESTARTS; number++)); do
        edit "$number"
        stop_server
        start "$LOG" cargo run --quiet -- "${arguments[@]}"
        time=$(wait_page "$EDIT_TIME_MAX_S" "edit-$number") || { give_up "restart $number shows nothing"; return 1; }
        echo "$time" >>"$WORK/restarts"
    done
    stop_server

    # 3 and 4: devhost, which takes the port that the app asks for.
    BEGUN=$(now_ms)
    start "$LOG" "$DEVHOST" run -- "${arguments[@]}"
    BUILT=$(wait_page "$BUILD_TIME_MAX_S" "edit-$RESTARTS") || { give_up "devhost shows no page"; return 1; }
    : >"$WORK/reloads"
    for ((count = 1; count <= RELOADS; count++)); do
        number=$((RESTARTS + count))
        edit "$number"
        time=$(wait_page "$EDIT_TIME_MAX_S" "edit-$number") || { give_up "reload $count shows nothing"; return 1; }
        echo "$time" >>"$WORK/reloads"
    done
    stop_server
    if curl -s --max-time 2 "http://127.0.0.1:$PORT/" >/dev/null; then
        give_up "something listens after devhost's end"
        return 1
    fi

    DEVHOST_COLD=-
    if [[ -n $COLD ]]; then
        BEGUN=$(now_ms)
        start "$LOG" "$DEVHOST" run --target-dir "$WORK/cold" -- "${arguments[@]}"
        DEVHOST_COLD=$(wait_page "$BUILD_TIME_MAX_S" "edit-$number") || { give_up "no page when cold"; return 1; }
        stop_server
        rm -rf "$WORK/cold"
    fi
}

trim() {
    local text=$1
    text=${text#"${text%%[![:space:]]*}"}
    printf %s "${text%"${text##*[![:space:]]}"}"
}

row() { printf '%-26s %-16s %12s %12s %12s %12s %12s %9s\n' "$@"; }

echo "milliseconds; from the start, or from the save, until the page shows the text"
row app framework 'cargo cold' 'restart' 'devhost cold' 'built' 'reload' 'slowest'
while IFS='|' read -r name version framework page file from to args; do
    NAME=$(trim "$name") VERSION=$(trim "$version") PAGE=$(trim "$page") FILE=$(trim "$file")
    FROM=$(trim "$from") TO=$(trim "$to") ARGS=$(trim "$args")
    [[ -n $NAME ]] || continue
    if ((${#ONLY[@]})) && [[ " ${ONLY[*]} " != *" $NAME "* ]]; then
        continue
    fi
    if measure; then
        row "$NAME $VERSION" "$(trim "$framework")" "$CARGO_COLD" "$(median <"$WORK/restarts")" "$DEVHOST_COLD" \
            "$BUILT" "$(median <"$WORK/reloads")" "$(sort -n "$WORK/reloads" | tail -n 1)"
    fi
    rm -rf "$WORK/app"
done <<<"$APPS"
exit "$FAILED"
