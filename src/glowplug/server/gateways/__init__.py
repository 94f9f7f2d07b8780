"""Several gateway processes on one port: `glowplug serve --gateways N` (decision 074)."""
