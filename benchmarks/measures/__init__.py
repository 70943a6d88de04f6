"""A module a subject: `measure` gives its figures. Those of `make bench-large` begin with `large_`."""
