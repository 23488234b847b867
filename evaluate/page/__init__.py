"""The report as one page for people: what it says, what it cost and where it came from, as one self-contained file."""
