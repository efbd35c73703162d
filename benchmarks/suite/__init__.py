"""The suite against the peers: builds every tool's artifact, judges it, times all by turns, and writes the table.

`python benchmarks/peers.py` runs it. `runtimes` and `makers` are imported in the tools' own environments too, where
there is numpy and the tool, and edgekit as a checkout.
"""
