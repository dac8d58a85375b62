"""STFT, standardised spectrograms, their metrics and their inversion."""
