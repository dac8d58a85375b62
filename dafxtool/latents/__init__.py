"""Use a trained model: embed, reconstruct, interpolate, map, sweep."""
