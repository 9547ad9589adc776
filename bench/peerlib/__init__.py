"""The modules of bench/peers."""
