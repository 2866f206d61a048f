"""Objects and calls shared by several test files."""
