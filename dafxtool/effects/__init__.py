"""Describe and apply audio effects, built-in and VST3."""
