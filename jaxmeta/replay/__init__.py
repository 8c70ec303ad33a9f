"""What is remembered of trials, and how it is drawn again."""
