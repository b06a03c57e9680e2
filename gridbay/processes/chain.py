"""The local chain: the real Solana runtime behind a JSON-RPC server on this machine."""

import sys
from urllib.parse import urlsplit

from billing.chains.local.server import serve as serve_chain
from infra.logging import configure_logging
from infra.settings import settings
from infra.telemetry import serve


def main() -> None:
    """Serve the chain of the state folder at the address of the first RPC URL, until told to stop."""
    config = settings()
    configure_logging("chain", config.log_level)
    if config.state_dir is None:
        sys.exit("chain: GRIDBAY_STATE_DIR is not set; the local chain belongs to an embedded market")
    serve(config.metrics_bind)
    address = urlsplit(config.solana_rpc_urls[0])
    serve_chain(config.state_dir / "chain", address.hostname or "127.0.0.1", address.port or 8899)
