"""STFT, standardised spectrograms, spectrogram metrics and phase retrieval."""
