"""covnode: a hospital DICOM node that answers a chest CT with a Structured Report and a Segmentation."""

__version__ = "0.1.0"
