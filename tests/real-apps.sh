#!/usr/bin/env bash
# Runs devhost on published web apps that know nothing of it, and prints a table of how long a save takes to show,
# beside what it takes with cargo alone.
#
#     tests/real-apps.sh [--quick] [--reloads N] [--restarts N] [--no-cold] [--keep DIR] [--devhost PATH] [APP...]
#
# For each app the published package is unpacked into a temporary directory, unchanged. Then, in one run:
#   1. `cargo run` with nothing built, up to the first page; and again with all built;
#   2. N restarts as cargo-watch makes them: edit, end the app, `cargo run` (default 3);
#   3. `devhost run` for the first time on the app that cargo has built, up to the first page; and again;
#   4. N edits under devhost, each from the save to the page that shows it (default 20);
#   5. under devhost, an edit that does not build (the old page stays, the status names file and line), its mending,
#      and a `kill -9` of the app's process (the next request is answered);
#   6. `devhost run` with nothing built, up to the first page.
# An edit changes one string literal in the source. It is a failure if a page does not show, if a request made during 4
# is answered by anything but 200, if devhost changes a byte of the app's sources or of its `target/debug`, or if
# a process or a listener is left. The table says how many there were; their causes and logs are named.
#
# --quick is --reloads 3 --restarts 1 --no-cold. With --keep, what was built stays in DIR and serves the next run
# with the same DIR, which then has no figures for 1's cold start. Else nothing is left behind. Needs curl, tar and
# the registry, or a cargo cache that has the packages. An app by a name outside of the list below is a mistake.
set -euo pipefail

usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
    exit "$1"
}

# name | version | framework | path of the page | file to edit | text | what replaces it, @ being the edit's number
# | environment and arguments, with PORT and DIR for a free port and a directory that the app may serve
APPS='
basic-http-server | 0.11.0 | axum | / | src/ext/dir_list.rs | "<div>" | "<div id=edit-@>" | -- -x -p PORT DIR
dufs | 0.47.0 | hyper | /?noscript | src/noscript.rs | "Index of {}" | "Index of edit-@ {}" | -- -b 127.0.0.1 -p PORT DIR
mdbook | 0.4.40 | warp | /one.html | src/renderer/html_handlebars/hbs_renderer.rs | " - " + book_title | " - edit-@ " + book_title | -- serve -n 127.0.0.1 -p PORT DIR
miniserve | 0.35.0 | actix-web | / | src/renderer.rs | ("name", "Name", sort | ("name", "edit-@", sort | -- -i 127.0.0.1 -p PORT DIR
simple-http-server | 0.8.1 | axum, openssl | / | src/util.rs | [Root] | [edit-@] | -- --ip 127.0.0.1 -p PORT DIR
'

RELOADS=20
RESTARTS=3
COLD=yes
DEVHOST=
KEEP=
ONLY=()
while (($#)); do
    case $1 in
        --quick) RELOADS=3 RESTARTS=1 COLD=; shift ;;
        --reloads) RELOADS=$2; shift 2 ;;
        --restarts) RESTARTS=$2; shift 2 ;;
        --no-cold) COLD=; shift ;;
        --keep) mkdir -p "$2"; KEEP=$(realpath "$2"); shift 2 ;;
        --devhost) DEVHOST=$(realpath "$2"); shift 2 ;;
        -h | --help) usage 0 ;;
        -*) usage 2 >&2 ;;
        *) ONLY+=("$1"); shift ;;
    esac
done
for name in "${ONLY[@]}"; do
    grep -q "^$name |" <<<"$APPS" || { echo "no app of the list is called $name" >&2; exit 2; }
done
REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
if [[ -z $DEVHOST ]]; then
    (cd "$REPOSITORY" && cargo build --release --quiet --bin devhost)
    DEVHOST=${CARGO_TARGET_DIR:-$REPOSITORY/target}/release/devhost
fi
unset CARGO_TARGET_DIR

# How long a first build, an edit and an end may take.
BUILD_TIME_MAX_S=1200
EDIT_TIME_MAX_S=120
END_TIME_MAX_S=20

WORK=$(mktemp -d)
APPS_DIR=${KEEP:-$WORK}
SERVER=
FAILED=0

# Starts no process, like everything done while something is timed.
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

seconds() { awk -v ms="$1" 'BEGIN { if (ms == "-") print "–"; else printf ms < 10000 ? "%.2f s\n" : "%.0f s\n", ms / 1000 }'; }

tell() { printf '%s: %s\n' "$NAME" "$1" >&2; }

# Lists the processes of the started command, which inherit a variable.
started() { grep -lsF "REAL_APPS_TRIAL=$WORK" /proc/[0-9]*/environ | cut -d / -f 3; }

# Ends the started command like Ctrl-C in a terminal. LEFT is what does not end.
stop_server() {
    [[ -n $SERVER ]] || return 0
    kill -INT -- "-$SERVER" 2>/dev/null || true
    LEFT=
    for ((i = 0; i < END_TIME_MAX_S * 20; i++)); do
        LEFT=$(started) || true
        [[ -n $LEFT ]] || break
        sleep 0.05
    done
    for pid in $LEFT; do
        kill -KILL "$pid" 2>/dev/null || true
    done
    wait "$SERVER" 2>/dev/null || true
    SERVER=
}

clean_up() {
    stop_server
    rm -rf "$WORK"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# start COMMAND...: in the app's directory and its own session; sets BEGUN.
start() {
    : >"$LOG"
    BEGUN=$(now_ms)
    (cd "$APP" && exec setsid env "REAL_APPS_TRIAL=$WORK" "${ENVIRONMENT[@]}" "$@") >"$LOG" 2>&1 </dev/null &
    SERVER=$!
}

# Checks whether something listens, without starting a process.
accepts() { { exec 3<>"/dev/tcp/127.0.0.1/$PORT"; } 2>/dev/null && exec 3>&-; }

# get PATH: the body into the file `body`, and the status into the file `code`.
get() {
    echo 000 >"$WORK/code"
    : >"$WORK/body"
    accepts || return 1
    curl -s --max-time "$EDIT_TIME_MAX_S" -H 'accept: text/html' -o "$WORK/body" -w '%{http_code}' \
        "http://127.0.0.1:$PORT$1" >"$WORK/code"
}

# wait_page SECONDS TEXT: until the page has the text; sets TIME to the milliseconds since $BEGUN. Counts failed requests
# on the way.
wait_page() {
    local limit=$((BEGUN + $1 * 1000))
    BAD_ANSWERS=0
    while :; do
        if get "$PAGE" && grep -qF -- "$2" "$WORK/body"; then
            TIME=$(($(now_ms) - BEGUN))
            return
        fi
        [[ $(<"$WORK/code") == 200 ]] || BAD_ANSWERS=$((BAD_ANSWERS + 1))
        if (($(now_ms) > limit)) || ! kill -0 "$SERVER" 2>/dev/null; then
            return 1
        fi
        sleep 0.02
    done
}

# wait_status SECONDS TEXT: until devhost's status, as one line of JSON, has the text.
wait_status() {
    local limit=$(($(now_ms) + $1 * 1000))
    until get /__devhost/status && grep -qE -- "$2" "$WORK/body"; do
        (($(now_ms) < limit)) || return 1
        sleep 0.05
    done
}

# save: replaces the edited file with standard input by a rename, like editors; sets BEGUN.
save() {
    cat >"$APP/$FILE.tmp~"
    mv "$APP/$FILE.tmp~" "$APP/$FILE"
    BEGUN=$(now_ms)
}

# text NUMBER: the edited file with that number in it.
text() {
    local text
    text=$(cat "$WORK/original" && printf x)
    text=${text%x}
    printf %s "${text/"$FROM"/"${TO//@/$1}"}"
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

# Hashes the app's directory without build output, and cargo's build output.
hash_sources() { (cd "$APP" && find . -path ./target -prune -o -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum; }
hash_debug() {
    (cd "$APP/target/debug" && find . -printf '%p %y %s %T@\n' | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum) |
        sha256sum
}

# The package as cargo downloads it.
unpack() {
    local scratch=$WORK/fetch home=${CARGO_HOME:-$HOME/.cargo} crate=
    APP=$APPS_DIR/$NAME-$VERSION
    if [[ ! -d $APP ]]; then
        rm -rf "$scratch"
        mkdir -p "$scratch/src"
        echo 'fn main() {}' >"$scratch/src/main.rs"
        printf '[package]\nname = "fetch"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\n%s = "=%s"\n' \
            "$NAME" "$VERSION" >"$scratch/Cargo.toml"
        (cd "$scratch" && cargo fetch --quiet)
        crate=$(find "$home/registry/cache" -name "$NAME-$VERSION.crate" | head -n 1)
        tar -xzf "$crate" -C "$APPS_DIR"
        cp "$APP/$FILE" "$APPS_DIR/$NAME-$VERSION.original"
    fi
    # An interrupted run may have left an edit.
    cp "$APPS_DIR/$NAME-$VERSION.original" "$WORK/original"
    cp "$WORK/original" "$APP/$FILE"
    grep -qF -- "$FROM" "$WORK/original"
    SERVED=$WORK/served
    rm -rf "$SERVED"
    mkdir -p "$SERVED/src"
    printf '[book]\ntitle = "Trial"\n' >"$SERVED/book.toml"
    printf '# Summary\n\n- [One](one.md)\n' >"$SERVED/src/SUMMARY.md"
    echo '# Chapter' >"$SERVED/src/one.md"
}

# fail WHAT: counts a failure and keeps the log.
fail() {
    local kept
    kept=$(mktemp --suffix=".$NAME.log")
    cp "$LOG" "$kept"
    tell "$1; the output is in $kept"
    FAILURES=$((FAILURES + 1))
    FAILED=1
}

# The same, if nothing more can be tried.
give_up() {
    fail "$1"
    stop_server
    return 1
}

expect_nothing_left() {
    [[ -z $LEFT ]] || fail "processes were left: $LEFT"
    if curl -s --max-time 2 "http://127.0.0.1:$PORT/" >/dev/null; then
        fail "something listens after devhost's end"
    fi
}

measure_cargo() {
    CARGO_COLD=-
    save < <(text 0)
    local is_cold
    [[ -d $APP/target/debug ]] || is_cold=yes
    tell "cargo run"
    start cargo run --quiet -- "${ARGUMENTS[@]}"
    wait_page "$BUILD_TIME_MAX_S" edit-0 || { give_up "cargo run shows no page"; return 1; }
    [[ -z ${is_cold:-} ]] || CARGO_COLD=$TIME
    stop_server
    start cargo run --quiet -- "${ARGUMENTS[@]}"
    wait_page "$BUILD_TIME_MAX_S" edit-0 || { give_up "cargo run shows no page"; return 1; }
    CARGO_BUILT=$TIME
    : >"$WORK/restarts"
    for ((number = 1; number <= RESTARTS; number++)); do
        tell "restart $number of $RESTARTS"
        save < <(text "$number")
        local saved=$BEGUN
        stop_server
        start cargo run --quiet -- "${ARGUMENTS[@]}"
        BEGUN=$saved
        wait_page "$EDIT_TIME_MAX_S" "edit-$number" || { give_up "restart $number shows nothing"; return 1; }
        echo "$TIME" >>"$WORK/restarts"
    done
    stop_server
}

measure_devhost() {
    local count number=$RESTARTS sources debug worker
    # Unless it was kept, this is the first devhost that the app sees.
    rm -rf "$APP/target/devhost"
    sources=$(hash_sources)
    debug=$(hash_debug)
    tell "devhost run"
    # devhost takes the port that the app asks for.
    start "$DEVHOST" run -- "${ARGUMENTS[@]}"
    wait_page "$BUILD_TIME_MAX_S" "edit-$number" || { give_up "devhost shows no page"; return 1; }
    DEVHOST_BUILT=$TIME
    stop_server
    expect_nothing_left
    start "$DEVHOST" run -- "${ARGUMENTS[@]}"
    wait_page "$BUILD_TIME_MAX_S" "edit-$number" || { give_up "devhost shows no page again"; return 1; }
    DEVHOST_AGAIN=$TIME
    : >"$WORK/reloads"
    for ((count = 1; count <= RELOADS; count++)); do
        number=$((RESTARTS + count))
        tell "reload $count of $RELOADS"
        save < <(text "$number")
        if wait_page "$EDIT_TIME_MAX_S" "edit-$number"; then
            echo "$TIME" >>"$WORK/reloads"
        else
            fail "reload $count shows nothing"
        fi
        ((BAD_ANSWERS == 0)) || fail "reload $count: $BAD_ANSWERS requests were not answered by 200"
    done
    tell "an error, and a crash"
    save < <({ text "$number" && echo 'fn does_not_build() -> u32 { "text" }'; })
    wait_status "$EDIT_TIME_MAX_S" "\"failure\":\{.*$FILE:" || fail "the error in $FILE is not told"
    get "$PAGE" && grep -qF "edit-$number" "$WORK/body" || fail "the old page is gone while the code does not build"
    number=$((number + 1))
    save < <(text "$number")
    wait_page "$EDIT_TIME_MAX_S" "edit-$number" || fail "the mended code does not show"
    wait_status 5 '"pid"' || true
    worker=$(sed 's/.*"workers":\[{"pid":\([0-9]*\).*/\1/' "$WORK/body")
    kill -KILL "$worker" || fail "there is no worker $worker"
    BEGUN=$(now_ms)
    wait_page "$EDIT_TIME_MAX_S" "edit-$number" || fail "the app does not come back after a crash"
    stop_server
    expect_nothing_left
    save < <(text "$RESTARTS")
    [[ $sources == "$(hash_sources)" ]] || fail "the app's sources have changed"
    [[ $debug == "$(hash_debug)" ]] || fail "the app's target/debug has changed"
}

measure_devhost_cold() {
    tell "devhost run with nothing built"
    mv "$APP/target" "$APPS_DIR/$NAME-$VERSION.target"
    start "$DEVHOST" run -- "${ARGUMENTS[@]}"
    if wait_page "$BUILD_TIME_MAX_S" "edit-$RESTARTS"; then DEVHOST_COLD=$TIME; else fail "devhost shows no page when cold"; fi
    stop_server
    expect_nothing_left
    rm -rf "$APP/target"
    mv "$APPS_DIR/$NAME-$VERSION.target" "$APP/target"
}

measure() {
    local words
    CARGO_COLD=- CARGO_BUILT=- DEVHOST_COLD=- DEVHOST_BUILT=- DEVHOST_AGAIN=- FAILURES=0 LEFT= LOG=$WORK/log
    : >"$WORK/restarts"
    : >"$WORK/reloads"
    : >"$LOG"
    unpack || { fail "the package is not as expected"; return; }
    PORT=$(free_port)
    words=" $ARGS "
    words=${words//PORT/$PORT}
    words=${words//DIR/$SERVED}
    read -ra ENVIRONMENT <<<"${words%% -- *}"
    read -ra ARGUMENTS <<<"${words#* -- }"
    measure_cargo && measure_devhost || return 0
    if [[ -n $COLD ]]; then measure_devhost_cold; fi
}

trim() {
    local text=$1
    text=${text#"${text%%[![:space:]]*}"}
    printf %s "${text%"${text##*[![:space:]]}"}"
}

row() { printf '| %-24s | %-13s | %10s | %10s | %10s | %11s | %11s | %11s | %21s | %8s |\n' "$@" >>"$WORK/table"; }

row app framework 'cargo cold' 'built' 'restart' 'devhost cold' 'built' 'again' 'reload' 'failures'
row --- --- --: --: --: --: --: --: --: --:
while IFS='|' read -r name version framework page file from to args; do
    NAME=$(trim "$name") VERSION=$(trim "$version") PAGE=$(trim "$page") FILE=$(trim "$file")
    FROM=$(trim "$from") TO=$(trim "$to") ARGS=$(trim "$args")
    [[ -n $NAME ]] || continue
    if ((${#ONLY[@]})) && [[ " ${ONLY[*]} " != *" $NAME "* ]]; then
        continue
    fi
    measure
    [[ ! -f $WORK/original ]] || cp "$WORK/original" "$APP/$FILE"
    row "$NAME $VERSION" "$(trim "$framework")" "$(seconds "$CARGO_COLD")" "$(seconds "$CARGO_BUILT")" \
        "$(seconds "$(median <"$WORK/restarts")")" "$(seconds "$DEVHOST_COLD")" "$(seconds "$DEVHOST_BUILT")" \
        "$(seconds "$DEVHOST_AGAIN")" \
        "$(sort -n "$WORK/reloads" | awk -v median="$(seconds "$(median <"$WORK/reloads")")" '
            NR == 1 { least = $1 } { most = $1 }
            END { if (NR) printf "%s (%.2f–%.2f)", median, least / 1000, most / 1000; else printf "–" }')" \
        "$FAILURES"
    tail -n 1 "$WORK/table" >&2
    [[ -n $KEEP ]] || rm -rf "$APP"
done <<<"$APPS"
cat <<END

From the start, or from the save, until the page shows the text.
cargo: \`cargo run\`, with nothing built; with all built; and edit, end, \`cargo run\` (median of $RESTARTS).
devhost: \`devhost run\`, with nothing built; for the first time on what cargo has built; a second time;
and a save (median of $RELOADS, least and most).

END
cat "$WORK/table"
exit "$FAILED"
