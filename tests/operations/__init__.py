"""The commands as library functions, on a real database."""
