"""Ways to a better model for a domain, each a function with a command."""
