"""The vocabulary: frozen data shared by every room of the house. No I/O, no clock, no import of ours."""
