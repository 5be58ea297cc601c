"""What ``world_small.py`` is made of: the arms of the proof, and how their planners and teachers are looked at."""
