"""The terminal: arguments in, results out."""
