"""Devices: how they are reached, what they are, and what their sensors say."""
