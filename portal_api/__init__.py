"""The market's only HTTP face: customers, providers, agents, operators; and the identities behind their credentials."""
