"""Fair turns on the machine, and what needs none because it was answered before."""
