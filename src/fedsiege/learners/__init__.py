"""Models and how a cohort of clients trains them: all clients at once, personal parameters kept apart."""
