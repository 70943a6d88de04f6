"""sgdb moves SameGame benchmark data out of pickle files into PostgreSQL without losing a value."""

__version__ = "0.1.0"
