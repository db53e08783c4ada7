"""What the end-to-end tests are built from: platforms, users, clients, packages and waiting."""
