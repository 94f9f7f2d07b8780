"""Climbs that nobody waits for yet: what the pre-load policy sees, and how its decisions are carried out."""
