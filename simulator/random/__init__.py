"""Random numbers: the generator, draws from it, and the named streams of a run's seed."""
