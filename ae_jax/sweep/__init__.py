"""Many runs at once: every seed with every learning rate and weight decay."""
