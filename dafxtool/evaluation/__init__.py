"""Evaluate a run on held-out recordings."""
