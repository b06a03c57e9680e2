#!/usr/bin/env bash
# The bare test: a fresh clone, no network but loopback, no other server in sight; as root and as a plain user.
# Both must print a verified receipt. Root's tests are those that stand on what is taken away here: the market in one tree,
# its servers from wheels, the sandbox, Ray. The plain user's are those, and what stands on who one is and on which Python: the
# system's. CI runs all the others once, before. BARE_TESTS="" leaves the tests out; BARE_TESTS=tests runs all.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "bare: run me as root: I make namespaces and change to a plain user" >&2; exit 2; }
# Whoever owns the project, root may clone it.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
project=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
roots_tests="tests/gridbay/standalone tests/provider_agent/sandbox tests/provider_agent/pool tests/infra/embedded tests/examples"
plain_tests="tests/gridbay tests/provider_agent tests/infra tests/examples"
folder=$(mktemp -d /tmp/gridbay-bare.XXXXXX)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT

bare() { # bare USER PYTHON TESTS: clone, set up with the network, then unplug it
    local user=$1 python=$2 tests=${BARE_TESTS-$3} home=$folder/$1 clone=$folder/$1/gridbay
    install -d -o "$user" -m 755 "$home"
    git clone -q --no-hardlinks "$project" "$clone"
    chown -R "$user" "$clone"
    local as=(setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups env -i
        HOME="$home" USER="$user" LOGNAME="$user" PATH="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" LANG=C.UTF-8
        TERM=dumb CI="${CI:-}" GRIDBAY_REQUIRE_TOOLS="${GRIDBAY_REQUIRE_TOOLS:-}")
    # Package clients are configured by the machine's environment; servers' URLs are what must be gone.
    local packages=()
    while IFS='=' read -r name value; do
        case $name in PIP_* | UV_* | SSL_* | REQUESTS_* | *_proxy | *_PROXY) packages+=("$name=$value") ;; esac
    done < <(env)
    echo "bare: $user: make setup"
    (cd "$clone" && "${as[@]}" "${packages[@]}" make setup PYTHON="$python")
    echo "bare: $user: make demo, unplugged"
    unplugged "$clone" "${as[@]}" make demo PYTHON="$python" | tee "$home/demo.log"
    grep -q "receipt verified" "$home/demo.log"
    if [ -n "$tests" ]; then
        echo "bare: $user: make test ARGS='$tests', unplugged"
        unplugged "$clone" "${as[@]}" make test PYTHON="$python" ARGS="$tests"
    fi
}

unplugged() { # unplugged FOLDER COMMAND...: loopback only, and no socket of another server
    local clone=$1
    shift
    # shellcheck disable=SC2016
    unshare --net --mount -- sh -c '
        ip link set lo up
        mount -t tmpfs tmpfs /run
        cd "$1" && shift && exec "$@"' sh "$clone" "$@"
}

# Side by side, since both wait more than they compute; the plain user's words follow at the end.
bare gridbay-bare /usr/bin/python3 "$plain_tests" >"$folder/plain.log" 2>&1 &
plain=$!
bare root "$(command -v python3)" "$roots_tests" &
root=$!
passed=yes
wait "$root" || passed=no
wait "$plain" || passed=no
cat "$folder/plain.log"
echo "bare: passed: $passed"
[ "$passed" = yes ]
