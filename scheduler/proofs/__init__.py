"""Proofs: challenges to nodes' devices, their verification, and what becomes of who passes and who does not."""
