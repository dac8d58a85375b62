"""Render recordings through effects into pairs of dry and wet segments."""
