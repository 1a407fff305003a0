"""PS3.15 Annex E applied to every instance, and the check that nothing of the identity is left."""
