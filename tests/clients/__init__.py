"""Real clients against the real binary: what a user would notice, and nothing else."""
