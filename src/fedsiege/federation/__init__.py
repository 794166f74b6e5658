"""The round loop, cohort sampling, server optimizers, checkpoint and resume."""
