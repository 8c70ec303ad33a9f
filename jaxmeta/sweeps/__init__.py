"""Many runs in few programs, here or elsewhere."""
