"""Performance promises, each a program: `make bench NAME=cold_start`. The last line is one JSON object."""
