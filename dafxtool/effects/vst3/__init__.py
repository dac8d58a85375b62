"""VST3 plugins, hosted in child processes."""
