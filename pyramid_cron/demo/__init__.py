"""A demo: a small shop with tasks that keep it going, as in an application of yours."""
