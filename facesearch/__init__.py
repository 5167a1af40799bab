"""facesearch: a vector-database identity search engine for faces."""
