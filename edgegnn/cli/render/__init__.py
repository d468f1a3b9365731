"""What the commands print: tables and progress for people, JSON for programs."""
