"""Find the effect and settings between two recordings."""
