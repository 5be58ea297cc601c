"""Training: objective, windows, the one loop, checkpoints and stages; knows no Ray."""
