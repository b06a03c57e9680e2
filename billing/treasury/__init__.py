"""The treasury: its key and tokens, and the money that comes in."""
