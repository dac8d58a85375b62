"""Files, locks, processes, progress and other helpers without audio."""
