"""What Ray executes: the stages of distillation."""
