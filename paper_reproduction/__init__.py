"""One script per figure or table of the papers."""
