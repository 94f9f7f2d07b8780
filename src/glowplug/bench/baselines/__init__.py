"""What Glowplug is measured against: scripts for a python of their own. None of them imports glowplug."""
