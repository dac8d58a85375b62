"""Describe a pair of recordings by closed-form numbers, from which effect and settings follow."""
