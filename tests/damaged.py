"""Damage as a bad disk does it: a file has another content, and neither its mode nor its time tells."""

import os
import stat
from pathlib import Path


def rewrite(file: Path, content: bytes) -> None:
    """Give a file another content."""
    before = file.stat()
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(stat.S_IMODE(before.st_mode))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip_a_bit(file: Path, byte: int = -1, bit: int = 0) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[byte] ^= 1 << bit
    rewrite(file, bytes(content))


def cut(file: Path, size: int) -> None:
    """Leave the first bytes of a file alone."""
    rewrite(file, file.read_bytes()[:size])
