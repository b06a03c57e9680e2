"""Proof of GPU: matrices that anybody can generate a row of, exact products, fingerprints and commitments.

docs/proof.md says why it proves anything, docs/formats/proof.md has the bytes. Standard library and numpy alone: a
prover under the Python of a node's GPU runtime imports it too.
"""
