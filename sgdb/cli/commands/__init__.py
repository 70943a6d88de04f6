"""One module a command: its signature, its help, and how its result is laid out."""
