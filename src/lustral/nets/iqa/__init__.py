"""Published networks that score the quality of an image without a reference, by the parameter names of their files."""
