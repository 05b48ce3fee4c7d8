"""HTTP: the API, the pages, the live stream and the doors of the PBXs' legacy scripts, on Starlette."""
