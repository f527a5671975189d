"""Strengths of attacks, found by measuring what they do to calibration images; ``lustral align``."""
