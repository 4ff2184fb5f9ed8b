"""The plug-ins that measure, and the stream of images that feeds them."""
