"""The Python interface: one function for each command."""
