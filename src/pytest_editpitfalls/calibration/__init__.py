"""Simulations that show whether gates and intervals keep what they promise."""
