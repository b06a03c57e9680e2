"""Files: what goes into a job and comes out of it."""
