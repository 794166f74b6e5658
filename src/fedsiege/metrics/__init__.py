"""Ranking, classification, backdoor and detection metrics; they know numbers, not who made them."""
