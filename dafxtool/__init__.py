"""dafxtool: see, hear and learn what audio effects do."""

__version__ = "0.1.0"
