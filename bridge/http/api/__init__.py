"""The API's handlers: one function per method and path, typed by the structs that `/openapi.json` shows."""
