"""De-identified files to a CTVolume in Hounsfield units with checked geometry."""
