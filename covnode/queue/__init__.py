"""The JobQueue port, its adapter on DBOS Transact, and an in-memory fake."""
