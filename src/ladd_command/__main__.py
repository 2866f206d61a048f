"""`python -m ladd_command`, as `ladd`."""

from .app import main

if __name__ == "__main__":
    main()
