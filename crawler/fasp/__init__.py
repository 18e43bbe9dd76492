"""Fediverse servers that share content with us as their auxiliary service provider (FASP 0.1)."""
