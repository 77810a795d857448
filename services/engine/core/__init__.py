"""What runs next, decided in plain Python: no device, no bus, no loop, no clock, no dice."""
