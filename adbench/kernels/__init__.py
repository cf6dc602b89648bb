"""What the methods compute: exact kernels, fast."""
