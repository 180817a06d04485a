# shellcheck shell=bash
# What the scripts share. Sourced, not run; bash with `set -euo pipefail`.

# Where the repository is; the scripts work from there, wherever they are called.
SLUICE_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export SLUICE_ROOT

if [[ -t 1 && -z "${NO_COLOR:-}" && "${TERM:-dumb}" != dumb ]]; then
    BOLD=$'\e[1m' GREEN=$'\e[32m' RED=$'\e[31m' FAINT=$'\e[2m' PLAIN=$'\e[0m'
else
    BOLD='' GREEN='' RED='' FAINT='' PLAIN=''
fi

say() { printf '%s\n' "$*"; }
note() { printf '%s    %s%s\n' "$FAINT" "$*" "$PLAIN"; }
heading() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
seen() { printf '  %s✓%s %s\n' "$GREEN" "$PLAIN" "$*"; }

# Ends the script: what is wrong, in one line, and what to do about it.
fail() {
    printf '  %s✗%s %s\n' "$RED" "$PLAIN" "$*" >&2
    exit 1
}

# Prints the comment at the top of a script, which is its help.
show_help() {
    sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$1"
}

# --- What has to be there -------------------------------------------------------------------------------------------

# Installs what building and running need, on Debian and Ubuntu; elsewhere says what to install.
need_packages() {
    local missing=()
    [[ -e /usr/include/hiredis/hiredis.h || -e /usr/local/include/hiredis/hiredis.h ]] || missing+=(libhiredis-dev)
    { command -v redis-server && command -v redis-cli; } >/dev/null || missing+=(redis-server)
    ((${#missing[@]})) || return 0

    command -v apt-get >/dev/null || fail "missing: ${missing[*]} (Debian's names). Install the C library hiredis with" \
        "its headers, and Redis 6.2 or newer with redis-cli, with your system's package manager; then run this again."
    # Debian starts Redis as a service when it is installed; these scripts start private ones and do not use it.
    install_packages "${missing[@]}"
}

# need_commands COMMAND[:PACKAGE]...: installs Debian's packages of the commands that are missing; elsewhere says which.
need_commands() {
    local each missing=()
    for each in "$@"; do
        command -v "${each%%:*}" >/dev/null || missing+=("${each##*:}")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || fail "missing: ${missing[*]} (Debian's names). Install them, then run this again."
    install_packages "${missing[@]}"
}

# install_packages PACKAGE...: with apt-get, as root or by sudo.
install_packages() {
    local as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail "missing: $*. Run as root: apt-get install $*"
        as_root=(sudo)
    fi
    say "Installing $* with apt-get${as_root[*]:+ (by sudo)}." >&2
    "${as_root[@]}" apt-get -q update >&2 || say "apt-get update failed; trying with the package lists that are there." >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$@" >&2 \
        || fail "apt-get could not install $*. Install them by hand, then run this again."
}

# want_package COMMAND PACKAGE WHAT: installs the Debian package of a command that only some tests need, if that can be done
# without asking anybody; says what is skipped otherwise.
want_package() {
    local as_root=()
    command -v "$1" >/dev/null && return 0
    if ((EUID != 0)); then as_root=(sudo -n); fi
    if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$2" \
            >/dev/null 2>&1 || true
    fi
    command -v "$1" >/dev/null || note "$1 (Debian: $2) is not installed: $3"
}

# Finds Swift 6.2 or newer and puts it first in PATH; says where to get it if there is none.
need_swift() {
    local folder version
    for folder in "" "${SWIFTLY_BIN_DIR:-$HOME/.local/share/swiftly/bin}" /opt/swift/usr/bin /usr/share/swift/usr/bin \
        /usr/libexec/swift/bin; do
        if [[ -n "$folder" && ! -x "$folder/swift" ]]; then continue; fi
        version="$(PATH="${folder:+$folder:}$PATH" swift --version 2>/dev/null \
            | sed -n 's/.*Swift version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | head -n 1)" || continue
        read -r major minor <<<"${version:-0 0}"
        if ((major > 6 || (major == 6 && minor >= 2))); then
            PATH="${folder:+$folder:}$PATH"
            export PATH
            return 0
        fi
    done
    fail "Swift 6.2 or newer was not found. Get it from https://www.swift.org/install/linux/, then run this again."
}

# --- Building -------------------------------------------------------------------------------------------------------

# Checks of exclusive access while the program runs would cost a tenth of a check's processor time: local answers took 1.09
# times as much at pipeline 16 (0.98 to 1.16, nine rounds in turn with a build without them, on a busy machine) and 1.10 times
# without pipeline (1.04 to 1.22). They would end the process where one thread reads what it is changing, which the compiler
# refuses wherever it sees both. So they are off here, and on in all tests, which build for debugging.
RELEASE_FLAGS=(-c release -Xswiftc -enforce-exclusivity=unchecked)
# Addresses of functions are looked up once, at the start, and cannot be written after that; and no library is looked for
# in the folder of the program, where whoever may write there could put another one.
RELEASE_FLAGS+=(-Xlinker -z -Xlinker relro -Xlinker -z -Xlinker now --disable-local-rpath)
# A first build takes some minutes; one that takes longer than this, in seconds, is stuck.
RELEASE_BUILD_LIMIT=2400

# has_glibc VERSION: whether the C library is glibc, of that version or a newer one.
has_glibc() {
    local found
    found="$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc //p')"
    [[ -n "$found" && "$(printf '%s\n' "$1" "$found" | sort -V | head -n 1)" == "$1" ]]
}

# build_release PRODUCT...: builds them for release, and leaves the log in TEMPORARY_FOLDER; where they are is in SLUICE_BIN.
# The standard library is linked in where there is one for that, as for a machine without Swift: at rest that takes a fifth
# less memory. Where glibc understands it, what is to be added to addresses at the start is packed: 0.5 to 1.5 MiB less again.
build_release() {
    local product tools
    tools="$(dirname "$(readlink -f "$(command -v swift)")")"
    if [[ -d "$tools/../lib/swift_static" ]]; then
        RELEASE_FLAGS+=(--static-swift-stdlib -Xswiftc -no-toolchain-stdlib-rpath)
        if [[ -x "$tools/ld.lld" ]] && has_glibc 2.36; then
            RELEASE_FLAGS+=(-Xswiftc -use-ld=lld -Xlinker -z -Xlinker pack-relative-relocs)
        fi
    fi
    for product in "$@"; do
        bounded "$RELEASE_BUILD_LIMIT" swift build "${RELEASE_FLAGS[@]}" --product "$product" \
            >"$TEMPORARY_FOLDER/build.log" 2>&1 || {
            tail -n 40 "$TEMPORARY_FOLDER/build.log" >&2
            fail "$product was not built; the end of what the compiler said stands above"
        }
        note "$product"
    done
    # shellcheck disable=SC2034 # for whoever sources this
    SLUICE_BIN="$(swift build "${RELEASE_FLAGS[@]}" --show-bin-path)"
}

# check_hardening PROGRAM...: fails if one is not as RELEASE_FLAGS are to make it.
check_hardening() {
    local program headers paths
    command -v readelf >/dev/null || {
        note "readelf (binutils) is not installed: how the programs are linked is not checked"
        return 0
    }
    for program in "$@"; do
        headers="$(readelf --wide --dynamic --program-headers "$program")" || fail "$program cannot be read by readelf"
        grep -q 'GNU_RELRO' <<<"$headers" || fail "$program has no RELRO: see RELEASE_FLAGS in scripts/lib.sh"
        grep -qE '\((BIND_NOW|FLAGS(_1)?)\).*(BIND_NOW|NOW)' <<<"$headers" \
            || fail "$program looks up functions when they are called: RELRO is partial, see RELEASE_FLAGS in scripts/lib.sh"
        if grep -q 'GNU_STACK .* RWE' <<<"$headers"; then fail "$program may execute its stack"; fi
        # Without a standard library to link in, its folder is where the shared one is.
        paths="$(sed -nE 's/.*\((RUNPATH|RPATH)\).*\[(.*)\]/\2/p' <<<"$headers")"
        if [[ ":$paths" =~ :[^/] ]]; then
            fail "$program looks for libraries beside itself ($paths): see RELEASE_FLAGS in scripts/lib.sh"
        fi
    done
}

# --- Processes ------------------------------------------------------------------------------------------------------

# Ids of what this script started and has not ended. Nothing is ever ended by name.
STARTED_PIDS=()
# Removed when the script ends.
TEMPORARY_FOLDER=''

# Makes the folder TEMPORARY_FOLDER. Under /tmp, since a socket's path has room for 103 bytes only.
make_temporary_folder() { TEMPORARY_FOLDER="$(mktemp -d /tmp/sluice-XXXXXX)"; }

# start LOG COMMAND...: starts a process whose output goes to a file; its id is in STARTED_PID.
start() {
    local log="$1"
    shift
    # It is there at once, for whoever reads what the process says.
    : >>"$log"
    "$@" >>"$log" 2>&1 </dev/null &
    STARTED_PID=$!
    STARTED_PIDS+=("$STARTED_PID")
}

# forget PID: it has ended.
forget() {
    local pid kept=()
    for pid in "${STARTED_PIDS[@]}"; do [[ "$pid" == "$1" ]] || kept+=("$pid"); done
    STARTED_PIDS=("${kept[@]}")
}

# stop PID [SIGNAL]: ends a process that `start` started, by force after five seconds, and waits for it.
stop() {
    local pid="$1" tries
    # Bash reports the death of what it started, wherever it learns of it; here it is no news.
    {
        kill -"${2:-TERM}" "$pid" || true
        for ((tries = 0; tries < 100; tries++)); do
            kill -0 "$pid" || break
            sleep 0.05
        done
        kill -KILL "$pid" || true
        wait "$pid" || true
    } 2>/dev/null
    forget "$pid"
}

# bounded SECONDS COMMAND...: runs a command, for so long at most; 124 if it took longer. In the background, so that a
# signal ends this script, and with it the command, at once.
bounded() {
    local status=0 pid
    timeout --kill-after=10 "$@" &
    pid=$!
    STARTED_PIDS+=("$pid")
    wait "$pid" || status=$?
    forget "$pid"
    return "$status"
}

# Ends what was started, last first, and removes the folder. Set as the trap of EXIT by `clean_up_at_exit`.
clean_up() {
    local status=$? index
    trap - EXIT INT TERM HUP
    for ((index = ${#STARTED_PIDS[@]} - 1; index >= 0; index--)); do stop "${STARTED_PIDS[index]}"; done
    if [[ -n "$TEMPORARY_FOLDER" ]]; then rm -rf "$TEMPORARY_FOLDER"; fi
    exit "$status"
}

clean_up_at_exit() {
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
}
