#!/usr/bin/env bash
# Installs the base alone, and the agent alone, each into an environment of its own, and imports them:
# a customer gets no server, a GPU host no database driver.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=.uv/bin/uv
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export UV_PYTHON_DOWNLOADS=never

install() { # install NAME WHAT: into $folder/NAME, at the versions of the lock
    "$uv" venv -q --python .venv/bin/python "$folder/$1"
    "$uv" pip compile -q --no-header --no-emit-index-url --constraint requirements.lock ${2:+--extra "$2"} \
        pyproject.toml -o "$folder/$1.txt"
    "$uv" pip install -q --python "$folder/$1/bin/python" -r "$folder/$1.txt"
    "$uv" pip install -q --python "$folder/$1/bin/python" --no-deps .
}

install base ""
(cd "$folder" && base/bin/python - <<'PY'
import importlib.util
import gridbay.client, gridbay.cli.main, market.receipts
assert not any(importlib.util.find_spec(name) for name in ("sqlalchemy", "ray", "celery", "solders", "psutil"))
PY
base/bin/gridbay --help >/dev/null)

install agent agent
(cd "$folder" && agent/bin/python - <<'PY'
import importlib.util, sys
import provider_agent.daemon, provider_agent.join
assert "ray" not in sys.modules, "the agent's process does not load Ray"
assert importlib.util.find_spec("ray")
assert not any(importlib.util.find_spec(name) for name in ("sqlalchemy", "psycopg", "asyncpg", "celery", "solders"))
PY
)
echo "installs: base alone and agent alone import"
