"""The gallery over HTTP. Needs the extra `facesearch[server]`."""
