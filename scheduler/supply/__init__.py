"""Supply: providers, their nodes and what these offer."""
