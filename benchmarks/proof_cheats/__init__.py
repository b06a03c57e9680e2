"""Runnable adversaries of the proof of GPU, and the honest prover they are measured against."""
