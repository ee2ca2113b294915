"""Everything about secrets: which keys and texts are hidden, and how."""
