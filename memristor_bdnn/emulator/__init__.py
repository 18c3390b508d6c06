"""An ESCIM board over TCP for tests and rehearsals; imports the wire, never the driver."""
