"""Estimate settings from a processed recording alone."""
