"""What happens to a run that is killed, whose disk fails, whose files rot, whose user types anything."""
