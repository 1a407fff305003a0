"""The front door: C-ECHO and C-STORE, the durable spool, and when a series is complete."""
