"""Reading DICOM files, statuses and UIDs."""
