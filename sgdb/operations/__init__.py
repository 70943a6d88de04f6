"""One module a command: options in, a result out, both dataclasses. Nothing here prints, asks or exits."""
