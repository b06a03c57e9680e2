#!/usr/bin/env bash
# Installs what a test machine lacks; changes nothing where everything is there. Needs root and Debian's packages.
set -euo pipefail

lacking=()
command -v bwrap >/dev/null || lacking+=(bubblewrap)
command -v ip >/dev/null || lacking+=(iproute2)
command -v setpriv >/dev/null || lacking+=(util-linux)
command -v gcc >/dev/null || lacking+=(gcc libc6-dev)
# promtool, which only comes with the whole of it.
command -v promtool >/dev/null || lacking+=(prometheus)
# A plain user cannot read another user's Python, so the system's own must be able to make environments.
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || lacking+=(python3 python3-venv)

if [ "${#lacking[@]}" -gt 0 ]; then
    echo "machine: installing ${lacking[*]}"
    # Installed servers must not start by themselves.
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; made_policy=1; }
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${lacking[@]}" >/dev/null
    [ -z "${made_policy:-}" ] || rm -f "$policy"
fi
id gridbay-bare >/dev/null 2>&1 || useradd --create-home --shell /bin/bash gridbay-bare
echo "machine: ready"
