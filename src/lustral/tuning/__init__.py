"""Search over the settings of a purifier: the front of clean, robust and cost, from images that are not reported."""
