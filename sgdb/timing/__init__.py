"""How long the old way and the new one take, each in a process of its own."""
