"""A round written down and decided again: what it was told and what it came to, as compact plain values. Pure."""
