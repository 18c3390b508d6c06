"""Chips of cells: where each device sits, batched reads, masked pulses, programming, and what it all costs."""
