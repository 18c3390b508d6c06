"""What hours of noise, drift and read disturb do to a learned skill, and what helps."""
