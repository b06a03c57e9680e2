"""Faults of the local chain: a seeded plan of them, and the RPC faces that they befall. Only tests ask for these."""
