"""Many runs as evidence: configurations, run folders, grids, statistics and the papers' tables."""
