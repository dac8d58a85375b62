"""Draw static figures from arrays, as PNG, SVG or PDF files."""
