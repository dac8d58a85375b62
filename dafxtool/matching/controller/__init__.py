"""Train and use a network that predicts effect and settings."""
