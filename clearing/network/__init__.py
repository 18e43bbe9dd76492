"""Figures of the network as a whole, for analysts: groups and never members."""

from clearing.network.answers import Answer, Asked, Column, Every, Grain

__all__ = ["Answer", "Asked", "Column", "Every", "Grain"]
