"""Who speaks: organizations and credentials; identity comes from the credential and from nothing else."""
