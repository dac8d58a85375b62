"""Serve a page on this machine for live effects, the latent map and interpolation."""
