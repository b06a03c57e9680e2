"""The chain port, its Solana implementation, the transactions we sign, and the local chain."""
