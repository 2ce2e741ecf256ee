"""`python -m infron` is the `infron` command."""

from infron.cli import main

if __name__ == "__main__":
    main()
