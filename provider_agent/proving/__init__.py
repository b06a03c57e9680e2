"""Proving that this node computes: a child process for each proof, on the engine that its device has."""
