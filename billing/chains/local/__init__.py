"""The local chain: the real Solana runtime behind Solana's JSON-RPC, on loopback and kept in SQLite."""
