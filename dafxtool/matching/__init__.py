"""Find the effect and settings behind a recording."""
