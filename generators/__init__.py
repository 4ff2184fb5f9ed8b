"""The plug-ins that draw: one file or folder each, a factory of the same name in it."""
