"""Offer one Python function for each command. `import dafxtool` offers them all.

Each function computes, writes what it is asked to write, and returns a result that shows itself
in a notebook. Paths are text or `os.PathLike`, effects are text ("delay:time=300,mix=50") or
`EffectChoice`, and options are keyword-only.
"""
