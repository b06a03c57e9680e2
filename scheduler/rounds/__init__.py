"""Rounds: the market's rows loaded for placement to judge, and its decisions written; quotes ask without writing."""
