"""What Ray executes: the stages of distillation, and sweeps over their parameters."""
