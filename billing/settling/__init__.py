"""Settling: lines closed into epochs, providers paid on the chain, receipts anybody can check."""
