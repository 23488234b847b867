"""Numbers as people read them."""


def counted(number: int, noun: str) -> str:
    """1 part, 2 parts."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
