"""What is computed: plans, how they become tasks, and what runs on a worker. See README.md here."""
