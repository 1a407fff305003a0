"""Hand-over types between the stages: frozen, typed, no I/O. Read these first."""
