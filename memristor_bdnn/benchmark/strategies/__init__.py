"""What a strategy costs while it learns, and what it leaves behind."""
