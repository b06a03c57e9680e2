"""The ground: settings, database, outbox, bus, cache, storage, logging, embedded servers."""
