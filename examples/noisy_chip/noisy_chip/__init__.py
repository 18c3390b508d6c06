"""Example accelerator plugin; see docs/writing_an_accelerator.md of memristor_bdnn."""
