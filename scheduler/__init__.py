"""Supply and work: providers, nodes, offers, jobs, attempts and leases, and the placing of one on the other."""
