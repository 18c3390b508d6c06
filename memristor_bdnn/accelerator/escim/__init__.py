"""The ESCIM board: packet codec, client, board and driver."""
