"""Upkeep: what time and comparison alone decide; nodes lost, leases run out, rows that must agree."""
