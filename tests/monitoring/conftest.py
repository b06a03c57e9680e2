"""A portal in its own process, behind gunicorn, with an operator's token."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from answering import until_it_answers
from served_portal import ServedPortal

from infra.database import Database
from infra.embedded.ports import free_port
from infra.secrets import SecretBox
from portal_api.identity import tokens
from portal_api.identity.tokens import TokenKind


@pytest.fixture
def served(database: Database, postgres_url: str, valkey_url: str, tmp_path: Path) -> Iterator[ServedPortal]:
    key = tmp_path / "secret.key"
    key.write_text(SecretBox.generate_key())
    key.chmod(0o600)
    bind = f"127.0.0.1:{free_port()}"
    values = {
        "BIND": bind,
        "DATABASE_URL": postgres_url,
        "CACHE_URL": valkey_url,
        "USAGE_BUS_URL": valkey_url,
        "STORAGE_URL": f"file://{tmp_path / 'storage'}",
        "SECRET_KEY_FILE": str(key),
    }
    now = datetime.now(UTC)
    with database.transaction() as session:
        token = tokens.issue(session, TokenKind.OPERATOR, now, name="t", expires_at=now + timedelta(hours=1)).text
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from gridbay.processes.api import main; main()"],
        env=os.environ | {f"GRIDBAY_{name}": value for name, value in values.items()},
    )
    try:
        until_it_answers(process, f"http://{bind}/health")
        yield ServedPortal(f"http://{bind}", token)
    finally:
        process.terminate()
        process.wait(20)
