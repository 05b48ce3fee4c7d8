"""Who is asking: passwords, tokens, sessions, and what each may see."""
