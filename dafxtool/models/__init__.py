"""The joint-spectrogram variational autoencoders and their checkpoints."""
