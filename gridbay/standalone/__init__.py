"""The whole market on one machine, as one supervised tree of processes."""
