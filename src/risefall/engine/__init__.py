"""Rules to programs, the face of the compiled module, drivers. Alone imports `_native`."""
