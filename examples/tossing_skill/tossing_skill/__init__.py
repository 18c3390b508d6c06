"""Example skill plugin; see docs/writing_a_skill.md of memristor_bdnn."""
