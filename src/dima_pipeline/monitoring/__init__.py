"""Drift: how far a window of keyframes lies from the reference, and where; Evidently lives here."""
