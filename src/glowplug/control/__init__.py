"""The controller, shared by live and simulated: events in, commands out."""
