"""Text to frozen structs. Imports no trio, no socket, no clock; reads files only through `files`."""
