"""Skills: what is learned. Each is a folder here or a package of somebody else's."""
