"""Placement, pure: which request gets which offer. No clock, session or network; numpy and market alone."""
