"""Read, write, resample and level recordings."""
