"""CTVolume to lungs, lesions, probability and severity."""
