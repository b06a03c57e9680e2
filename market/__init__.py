"""The shared language of the market: pure values that every other package speaks."""
