"""Parts of bench_match.py, each with its own kind of pairs."""
