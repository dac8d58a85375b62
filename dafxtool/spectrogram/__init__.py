"""Compute spectrograms and their metrics, and reconstruct audio from them."""
