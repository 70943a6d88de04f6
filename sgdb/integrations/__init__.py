"""sgdb inside of other programs. Nothing in sgdb imports from here."""
