"""What open-loop planning numbers mean: protocols, footprints, horizons and intervals, in numpy and nothing else."""
