"""What a call is. Pure: no I/O and no clock; time is an argument or comes from the stream."""
