"""The trainer, its arguments, and what a run records."""
