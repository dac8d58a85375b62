"""Evaluate a run on held-out recordings: scores, baselines and their intervals."""
