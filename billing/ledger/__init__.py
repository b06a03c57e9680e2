"""The ledger: accounts, balanced transfers between them, and the audit that looks for a broken invariant."""
