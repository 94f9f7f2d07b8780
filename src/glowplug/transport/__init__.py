"""How bodies travel between a gateway and the processes that compute. Imports only core."""
