"""Quantisers of Di-LADD, one per file."""
