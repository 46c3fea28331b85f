"""A session that can do this library's work: started, checked, counted, stopped."""
