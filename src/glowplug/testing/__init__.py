"""The public kit: fakes that keep an interface's promises, and the suites that check them."""
