"""What an agent infers of its task, and how that is learned."""
