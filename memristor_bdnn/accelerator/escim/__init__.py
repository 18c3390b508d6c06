"""The ESCIM board: packet codec, client, board, driver, and an emulator that speaks the same bytes."""
