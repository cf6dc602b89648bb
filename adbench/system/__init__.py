"""What every room may use: settings, files, threads, the machine, progress and clocks."""
