"""Many runs in few compiled programs, in this process or others."""
