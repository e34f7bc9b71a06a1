"""The built-in recipes: `build(width)` gives networks whose narrow forms are leading blocks."""
