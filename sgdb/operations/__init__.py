"""One module a command: an options dataclass in, a result dataclass out. Nothing here prints, asks or exits."""
