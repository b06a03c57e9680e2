"""Metering: what agents report of a lease's use, merged into streams that only grow."""
