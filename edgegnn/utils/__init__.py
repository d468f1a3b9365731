"""Small helpers without a home of their own: writing files all or nothing, layers that cache."""
