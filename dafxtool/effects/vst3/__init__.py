"""Host VST3 plugins in child processes."""
