"""Active learning: acquisition functions, the trial store, and the loop that asks, executes and learns."""
