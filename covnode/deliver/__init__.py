"""Identity restored, and the C-STORE to the destination."""
