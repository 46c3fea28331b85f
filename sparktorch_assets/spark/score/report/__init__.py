"""What a refresh did: its counts, its speed, and where its time went."""
