"""What everything else leans on: registries of choices, ranges of numbers, names of files, objects in words."""
