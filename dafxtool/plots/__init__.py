"""Static figures: arrays in, one PNG, SVG or PDF file out."""
