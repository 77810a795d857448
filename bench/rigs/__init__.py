"""One service each, in this process and on this thread: the production objects, and little around them."""
