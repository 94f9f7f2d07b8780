"""Devices: what lies in their memory, what waits for them, and who decides about both."""
