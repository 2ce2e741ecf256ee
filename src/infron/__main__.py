"""`python -m infron` is the `infron` command."""

from infron.cli.app import main

if __name__ == "__main__":
    main()
