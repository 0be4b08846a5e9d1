"""What the user holds: lifted generators, parallel iterators, pending results. See README.md here."""
