"""The proof that a node loses and repeats nothing: it is run, and killed, frozen and cut off at every transition."""
