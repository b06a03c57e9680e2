"""PostgreSQL and Valkey from wheels: our own launchers, so that a market needs no server installed on its machine."""
