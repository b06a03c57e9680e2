"""The command line: one file for each noun; `main` finds them and loads only the one that is asked for."""
