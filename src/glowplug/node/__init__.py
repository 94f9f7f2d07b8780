"""One machine: the agent, zygotes and workers. A user's code runs only in processes made here."""
