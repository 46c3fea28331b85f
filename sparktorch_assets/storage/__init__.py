"""Options of stores (endpoint, region, credentials): what they are called, which addresses they are for, who opens with them."""
