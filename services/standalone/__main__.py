"""`python -m services.standalone`: the `dubline` command."""

from services.standalone.cli import main

if __name__ == "__main__":
    main()
