"""Estimate starting points from a pair in closed form, one module for each kind of effect."""
