"""Choice: which series of a study are analysed, by rules that are data."""
