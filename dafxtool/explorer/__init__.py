"""A local server and page: effects, latent map and interpolation, live."""
