"""Sensors: one file each, with both ends of its wire protocol."""
