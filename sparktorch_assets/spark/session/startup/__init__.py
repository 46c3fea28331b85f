"""What makes sessions on this machine start sooner, and never keeps one from starting."""
