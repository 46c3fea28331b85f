"""How far a run has got, for people and for logs."""
