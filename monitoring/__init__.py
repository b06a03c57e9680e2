"""Monitoring: the market in numbers, read from the others' rows."""
