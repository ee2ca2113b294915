"""What a field of an event is taken from, one file per field or family of fields; used for spans and logs alike."""
