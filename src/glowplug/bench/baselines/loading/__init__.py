"""Libraries that people load weights with, a script each, measured from store to first answer.

Run as `python -m loading.SCRIPT ARCHITECTURE WEIGHTS [THREADS ...]` with PYTHONPATH naming the folder of this
package and `examples`, and with PYTHONSAFEPATH set. See `loop.py` for what they read and print.
"""
