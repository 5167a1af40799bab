"""External vector engines of a gallery: which one is searched, and how it is kept equal to the database."""
