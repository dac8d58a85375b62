"""Train a model on spectrograms."""
