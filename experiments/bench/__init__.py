"""Speed: of training, of physics, against our targets."""
