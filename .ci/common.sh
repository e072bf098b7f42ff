# What the scripts of this folder share. They run in the top folder of the checkout.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary=target/x86_64-unknown-linux-gnu/release/bindery

fail() {
    printf 'failed: %s\n' "$*" >&2
    exit 1
}

# What a machine cannot do is said; where changes are tested for everybody (CI is set), it has to be done.
skip() {
    if [ "${CI:-}" ]; then
        fail "$*"
    fi
    printf 'SKIPPED: %s\n' "$*"
    exit 0
}

# need PROGRAM PACKAGE: installs the Debian package if the program is not there, and nobody has to be asked.
need() {
    if command -v "$1" >/dev/null; then
        return
    fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        skip "$1 is not installed (on Debian: apt-get install $2)"
    fi
    if [ ! "${APT_UPDATED:-}" ]; then
        apt-get update -qq
        export APT_UPDATED=1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
    command -v "$1" >/dev/null || fail "$1 is not in the package $2"
}

need_root() {
    [ "$(id -u)" = 0 ] || skip "this needs root"
}
