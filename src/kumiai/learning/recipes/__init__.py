"""The built-in recipes; each module has `build(width, ...)` whose narrow nets are leading blocks."""
