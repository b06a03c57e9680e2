"""Charging: windows of money held before the work, and captured as lines by what was used."""
