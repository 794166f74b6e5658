"""The audit of a user's Flower app: its own code, unchanged, under a battery of attacks, with and without defenses."""
