"""Studies over a grid of runs: described, planned, run, stored, and read as tables."""
