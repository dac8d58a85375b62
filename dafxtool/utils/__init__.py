"""Help with files, locks, processes, progress and text."""
