"""Is this machine fit to extract and train? Each module looks at one thing and returns findings."""
