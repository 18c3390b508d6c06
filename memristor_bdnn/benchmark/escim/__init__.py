"""The board protocol against the emulator."""
