"""Who is where: boxes of people, tables of them, finding and following people. Knows no networks of actions."""
