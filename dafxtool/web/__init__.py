"""Write interactive latent maps and reports as self-contained HTML pages."""
