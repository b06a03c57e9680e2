"""Work: jobs, their attempts and leases, from submission to the end."""
