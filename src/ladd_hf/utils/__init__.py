"""Shared tools: registries of choices, ranges of numbers, file names, descriptions of objects."""
