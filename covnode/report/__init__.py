"""AnalysisResult and masks to DICOM Segmentation and Structured Report."""
