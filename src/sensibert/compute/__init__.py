"""How to compute: device, number format, the same bytes every time, and what makes training cheap on a CPU."""
