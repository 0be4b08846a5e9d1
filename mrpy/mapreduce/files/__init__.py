"""Files as sources: found and cut into blocks in the consumer, read by the workers."""
