"""The data path itself: intake, analysis, delivery. Read these second."""
