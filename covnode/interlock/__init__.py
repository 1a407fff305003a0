"""Independent re-read of every finished object before it leaves."""
