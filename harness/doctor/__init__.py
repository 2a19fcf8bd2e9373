"""What is true of this machine: ports, radio, clocks, processors, packages, disk; one fix per line, nothing changed."""
