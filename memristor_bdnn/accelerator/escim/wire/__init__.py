"""Bytes of the ESCIM protocol, shared by the driver and the emulator."""
