"""How numbers are written in messages."""


def counted(number: int, thing: str) -> str:
    """`1 coadd`, `2 coadds`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def human_size(count: float) -> str:
    """1234567 -> 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
