"""The trainer, its arguments, and the record of a run."""
