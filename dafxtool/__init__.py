"""dafxtool: see, hear and learn what audio effects do."""

import os

# Threads of OpenMP that wait for each other by spinning take the core from those that they wait
# for as soon as anything else runs: a decoding of 0.03 s took 1.4 s so on two busy cores. The
# setting is read when torch is loaded, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
