"""HTTP: connections, files, authentication, proxies, limits."""
