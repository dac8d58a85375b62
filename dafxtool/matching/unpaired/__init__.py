"""Match a reference with other content."""
