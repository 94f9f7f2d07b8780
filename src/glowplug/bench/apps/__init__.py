"""Apps that experiments deploy: their files are given to `glowplug serve`, and imported by nobody here."""
