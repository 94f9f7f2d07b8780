"""Virtual time: the very controller, with an engine and a gateway that only compute when things end."""
