"""What travels between agent and cloud: messages, codec, conversation, and the two ends of the connection."""
