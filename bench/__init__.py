"""Measurements: each compares what is ours with a bare peer, in the same run, taking turns."""
