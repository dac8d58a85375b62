"""Search chains and settings with the smallest distance to a wet recording."""
