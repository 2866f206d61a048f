"""What several test files build or call alike."""
