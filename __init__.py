"""Visual Thought."""
