"""Looks inside a defence: what happens to images on their way to the target."""
